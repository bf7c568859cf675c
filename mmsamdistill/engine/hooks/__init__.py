"""Hooks that MMEngine lacks."""

from mmsamdistill.engine.hooks.channels_last import ChannelsLastHook
from mmsamdistill.engine.hooks.compile import CompileHook
from mmsamdistill.engine.hooks.gradient_shares import GradientShareHook
from mmsamdistill.engine.hooks.guard import CollapseHook, FiniteHook, TrainingDivergedError
from mmsamdistill.engine.hooks.interruption import InterruptionHook
from mmsamdistill.engine.hooks.local_statistics import LocalStatisticsHook
from mmsamdistill.engine.hooks.mixup import MixupHook
from mmsamdistill.engine.hooks.pictures import DistillationPictureHook
from mmsamdistill.engine.hooks.progressive_patch import ProgressivePatchHook
from mmsamdistill.engine.hooks.random_state import RandomStateHook
from mmsamdistill.engine.hooks.region_cache import RegionCacheHook
from mmsamdistill.engine.hooks.run_record import RunRecordHook
from mmsamdistill.engine.hooks.teacher_evaluation import TeacherEvaluationHook
from mmsamdistill.engine.hooks.value_range import ValueRangeHook

__all__ = [
    'ChannelsLastHook', 'CollapseHook', 'CompileHook', 'DistillationPictureHook', 'FiniteHook',
    'GradientShareHook', 'InterruptionHook', 'LocalStatisticsHook', 'MixupHook',
    'ProgressivePatchHook', 'RandomStateHook', 'RegionCacheHook', 'RunRecordHook',
    'TeacherEvaluationHook', 'TrainingDivergedError', 'ValueRangeHook',
]  # fmt: skip
