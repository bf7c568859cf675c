"""Inheriting from this package's configs by name."""

from __future__ import annotations

import functools

from mmengine.config import Config
from mmengine.config import utils as config_utils

PACKAGE = 'mmsamdistill'


def let_configs_inherit_from_this_package() -> None:
    """Make ``_base_ = 'mmsamdistill::nafnet/...'`` work.

    Reason: MMEngine resolves ``package::config`` for the packages in its own table only, and then
    marks every part of the inherited config as belonging to that package's registry. Our parts are
    registered in MMagic's registries, so MMagic's is the scope to mark.

    Affected: MMEngine 0.7 to 0.10.7. Unnecessary once MMEngine lets a package enter the table with
    a scope of its choice.
    """
    config_utils.MODULE2PACKAGE.setdefault(PACKAGE, PACKAGE)
    original = Config._get_cfg_path
    if hasattr(original, 'of_mmsamdistill'):
        return

    @functools.wraps(original)
    def find(cfg_path: str, filename: str) -> tuple[str, str | None]:
        path, scope = original(cfg_path, filename)
        return path, 'mmagic' if scope == PACKAGE else scope

    find.of_mmsamdistill = True  # type: ignore[attr-defined]
    Config._get_cfg_path = staticmethod(find)
