"""Hooks that MMEngine lacks."""

from mmsamdistill.engine.hooks.random_state import RandomStateHook
from mmsamdistill.engine.hooks.region_cache import RegionCacheHook
from mmsamdistill.engine.hooks.teacher_evaluation import TeacherEvaluationHook

__all__ = ['RandomStateHook', 'RegionCacheHook', 'TeacherEvaluationHook']
