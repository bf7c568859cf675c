"""What training needs beyond MMEngine's own optimiser constructors and hooks."""

from mmsamdistill.engine.hooks import RandomStateHook, TeacherEvaluationHook
from mmsamdistill.engine.optim import CascadeOptimWrapperConstructor

__all__ = ['CascadeOptimWrapperConstructor', 'RandomStateHook', 'TeacherEvaluationHook']
