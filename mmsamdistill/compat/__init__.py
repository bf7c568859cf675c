"""MMagic 1.2 on a current stack: one remedy per function, each with its reason and its end."""

from mmsamdistill.compat.activation import activate, unavailable_editors
from mmsamdistill.compat.lazy_package import MissingDependencyError
from mmsamdistill.compat.lazy_registry import register_late

__all__ = ['MissingDependencyError', 'activate', 'register_late', 'unavailable_editors']
