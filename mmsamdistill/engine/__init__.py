"""What training needs beyond MMEngine's own optimiser constructors and hooks."""

from mmsamdistill.engine.hooks import (
    ChannelsLastHook,
    CollapseHook,
    CompileHook,
    DistillationPictureHook,
    FiniteHook,
    GradientShareHook,
    InterruptionHook,
    LocalStatisticsHook,
    MixupHook,
    ProgressivePatchHook,
    RandomStateHook,
    RegionCacheHook,
    RunRecordHook,
    TeacherEvaluationHook,
    TrainingDivergedError,
)
from mmsamdistill.engine.optim import CascadeOptimWrapperConstructor

__all__ = [
    'CascadeOptimWrapperConstructor',
    'ChannelsLastHook',
    'CollapseHook',
    'CompileHook',
    'DistillationPictureHook',
    'FiniteHook',
    'GradientShareHook',
    'InterruptionHook',
    'LocalStatisticsHook',
    'MixupHook',
    'ProgressivePatchHook',
    'RandomStateHook',
    'RegionCacheHook',
    'RunRecordHook',
    'TeacherEvaluationHook',
    'TrainingDivergedError',
]
