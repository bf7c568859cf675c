"""Which of MMagic's editors can be used here."""

from __future__ import annotations

import contextlib
import importlib
import io
import pkgutil

from mmsamdistill.compat.activation import activate
from mmsamdistill.compat.reasons import MissingDependencyError, explain, remember_failure


def unavailable_editors() -> dict[str, str]:
    """Import every module of every editor of MMagic, and say which fail and why.

    Takes as long as MMagic's own start-up; nothing in training or testing calls it.

    Returns:
        Editor's package name to reason, for those of which at least one module cannot be imported
        (other modules of the same editor may still work).

    Example:
        >>> 'nafnet' in unavailable_editors()
        False
    """
    activate()
    editors = importlib.import_module('mmagic.models.editors')
    unavailable: dict[str, str] = {}
    for _, name, _ in pkgutil.iter_modules(editors.__path__):
        with contextlib.redirect_stdout(io.StringIO()):  # MMagic prints what it misses
            reasons = _failures_in(f'{editors.__name__}.{name}')
        if reasons:
            unavailable[name] = '; '.join(dict.fromkeys(reasons))
    return unavailable


def _failures_in(package_name: str) -> list[str]:
    reasons = []
    package = importlib.import_module(package_name)
    for _, name, _ in pkgutil.iter_modules(package.__path__):
        module = f'{package_name}.{name}'
        try:
            importlib.import_module(module)
        except MissingDependencyError as error:
            reasons.append(explain(error.__cause__ or error))
        except Exception as error:
            reasons.append(remember_failure(module, error))
    return reasons
