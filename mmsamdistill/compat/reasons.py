"""Why a part of MMagic cannot be imported, in words a user can act on."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_failures: dict[str, str] = {}


class MissingDependencyError(ImportError):
    """A part of MMagic was asked for that cannot be imported here.

    MMagic's own behaviour is to fail as a whole, or to say that the name is not registered.
    """


def explain(error: BaseException) -> str:
    """Say in one sentence what an import error means."""
    message = (str(error).strip().splitlines() or [''])[0]
    if 'mmcv._ext' in message or 'mmcv.ops' in message:
        return "it needs mmcv's compiled operators: install the full mmcv instead of mmcv-lite"
    module = getattr(error, 'name', None) or ''
    package = module.partition('.')[0]
    if isinstance(error, ModuleNotFoundError) and module and module == package:
        return f'the package {package!r} is not installed'
    if isinstance(error, ImportError) and package and package != 'mmagic':
        return f'{package} {_version(package)} is too old or too new for MMagic 1.2: {message}'
    return f'{type(error).__name__}: {message}'


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return '(version unknown)'


def remember_failure(module: str, error: BaseException) -> str:
    """Note why ``module`` cannot be imported."""
    return _failures.setdefault(module, explain(error))
