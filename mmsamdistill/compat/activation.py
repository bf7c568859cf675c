"""Put every remedy in force, and say what of MMagic cannot be used here all the same."""

import contextlib
import importlib
import importlib.util
import io
import pkgutil

from mmengine.config import utils as config_utils

# Of those that are only imported, all remedies are marked by `in_place_of`.
from mmsamdistill.compat import (  # noqa: F401
    checkpoints,
    remedies,
    resumed_settings,
    resuming,
    saving,
    skipping,
)
from mmsamdistill.compat.import_hook import install_import_hook, put_in_place
from mmsamdistill.compat.lazy_package import MissingDependencyError, explain, remember_failure
from mmsamdistill.compat.lazy_registry import make_registries_lazy

_HOST = "pip install 'mmsamdistill[mmlab]'   (or [onedl], the maintained forks)"
INSTALL = {
    'mmengine': _HOST,
    'mmcv': _HOST,
    'mmagic': 'pip install --no-deps mmagic==1.2.0   (--no-deps, since it asks for the full mmcv, '
    'which may have to be compiled, and for diffusion libraries that restorers do not need)',
}
_done: list[bool] = []


def activate() -> None:
    """Make MMagic 1.2 usable in this environment; call before anything of MMagic's models.

    Cheap (it imports MMagic's registries, none of its models) and idempotent. It also helps where
    parts of MMagic were imported first: registries and loaded functions are amended in place, and
    what MMagic failed to import before can be imported afterwards.

    Raises:
        ImportError: MMEngine, MMCV or MMagic is not installed; the message says how to install it.

    Example:
        >>> activate()
        >>> from mmagic.registry import MODELS
        >>> MODELS.get('NAFNet').__name__
        'NAFNet'
    """
    if _done:
        return
    require_host()
    install_import_hook()
    remedies.activate_in_spawned_workers()
    checkpoints.use_safe_checkpoint_io()
    skipping.skip_in_the_sampler()
    put_in_place()
    # `_base_ = 'mmsamdistill::nafnet/...'`; MMEngine knows the packages of its own table only.
    config_utils.MODULE2PACKAGE.setdefault('mmsamdistill', 'mmsamdistill')
    make_registries_lazy(importlib.import_module('mmagic.registry'))
    _done.append(True)


def require_host() -> None:
    """Refuse to go on without the packages this one extends, saying how to get them."""
    missing = [name for name in INSTALL if importlib.util.find_spec(name) is None]
    if missing:
        commands = '\n'.join(dict.fromkeys(f'    {INSTALL[name]}' for name in missing))
        raise ImportError(
            f'mmsamdistill extends MMagic and needs {", ".join(missing)}, not installed here. '
            f'Install with:\n{commands}'
        )


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
