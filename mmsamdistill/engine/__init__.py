"""What training needs beyond MMEngine's own optimiser constructors and hooks."""

from mmsamdistill.engine import hooks
from mmsamdistill.engine.hooks import *  # noqa: F403
from mmsamdistill.engine.optim import CascadeOptimWrapperConstructor

__all__ = [*hooks.__all__, 'CascadeOptimWrapperConstructor']
