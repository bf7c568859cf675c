"""What training needs beyond MMEngine's own optimiser constructors and hooks."""

from mmsamdistill.engine.hooks import RandomStateHook, RegionCacheHook, TeacherEvaluationHook
from mmsamdistill.engine.optim import CascadeOptimWrapperConstructor

__all__ = [
    'CascadeOptimWrapperConstructor',
    'RandomStateHook',
    'RegionCacheHook',
    'TeacherEvaluationHook',
]
