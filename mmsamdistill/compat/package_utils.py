"""MMEngine's questions about installed packages, answered by the standard library."""

from __future__ import annotations

import importlib
import importlib.util
from importlib import metadata
from pathlib import Path

from mmsamdistill.compat.import_hook import replace_in_modules


def is_installed(package: str) -> bool:
    """Say whether a distribution or importable package of this name exists.

    Example:
        >>> is_installed('mmengine'), is_installed('no-such-package')
        (True, False)
    """
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        spec = _find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """Find the folder a package is installed in.

    Example:
        >>> Path(get_installed_path('mmcv-lite')).name if is_installed('mmcv-lite') else 'mmcv'
        'mmcv'
    """
    spec = _find_spec(package)
    if spec is None:
        top = metadata.distribution(package).read_text('top_level.txt') or ''
        module = (top.split() or [package])[0]
        spec = _find_spec(module)
        if spec is None:
            raise ValueError(f'the distribution {package!r} has no importable module {module!r}')
    if spec.origin is None:
        raise RuntimeError(f'{package} is a namespace package, which has no single folder')
    return str(Path(spec.origin).parent)


def _find_spec(name: str) -> importlib.machinery.ModuleSpec | None:
    return importlib.util.find_spec(name) if name.isidentifier() else None


def replace_pkg_resources() -> None:
    """Let MMEngine ask ``importlib.metadata`` instead of ``pkg_resources``.

    Reason: setuptools 82 dropped ``pkg_resources``; earlier releases warn of its deprecation, and
    MMEngine reloads it at each question, which takes a second. Config inheritance across packages
    (``_base_ = 'mmagic::...'``) needs it. No stand-in module is installed: the two functions that
    use it are exchanged.

    Affected: MMEngine up to 0.10.7 (unconditionally useful: also faster where it exists).
    Unnecessary once MMEngine uses ``importlib.metadata``.
    """
    original = importlib.import_module('mmengine.utils.package_utils')
    for new in (is_installed, get_installed_path):
        old = getattr(original, new.__name__)
        if old is not new:
            replace_in_modules('mmengine', old, new)
