"""Modules of MMagic that need one line changed before they can be executed."""

import ast
import importlib.util
import re
import warnings
from collections.abc import Callable
from typing import Any

import torch
from mmengine.registry import Registry

UNTRIED_MMCV = (2, 4)


class _RenameAttribute(ast.NodeTransformer):
    """Writes ``owner.new`` where a module says ``owner.old``."""

    def __init__(self, owner: str, old: str, new: str) -> None:
        self.owner, self.old, self.new = owner, old, new

    def visit_Attribute(self, node: ast.Attribute) -> ast.Attribute:
        """Rename one attribute."""
        self.generic_visit(node)
        if (
            node.attr == self.old
            and isinstance(node.value, ast.Name)
            and node.value.id == self.owner
        ):
            node.attr = self.new
        return node


def replace_numpy_bool8(source: bytes) -> ast.Module:
    """Write ``np.bool_`` where ``mmagic.utils.trans_utils`` says ``np.bool8``."""
    # NumPy 2.0 removed the alias. The module alone is amended: adding the alias to numpy would make
    # other libraries believe they run on NumPy 1.
    return _RenameAttribute('np', 'bool8', 'bool_').visit(ast.parse(source))


def raise_mmcv_bound(source: bytes) -> ast.Module:
    """Turn MMagic's refusal of newer MMCVs into a hint, and that for untried ones only."""
    # mmagic/__init__ (to 1.2.0) asserts mmcv < 2.2.0, the release that was to come when it was
    # written. MMCV 2.2.0 differs in compiled operators, not in an interface that MMagic uses; the
    # fork onedl-mmcv 2.3.6 trains, validates and tests. What comes after was never tried.
    tree = ast.parse(source)
    for index, node in enumerate(tree.body):
        if isinstance(node, ast.Assign) and ast.unparse(node) == "MMCV_MAX = '2.2.0'":
            hint = ast.parse(
                "MMCV_MAX = '99.0.0'\n"
                'from mmsamdistill.compat.source_patches import hint_at_untried_mmcv\n'
                'hint_at_untried_mmcv()'
            ).body
            tree.body[index : index + 1] = hint
            break
    return ast.fix_missing_locations(tree)


def hint_at_untried_mmcv() -> None:
    """Warn if MMCV is newer than any that MMagic was tried with."""
    import mmcv

    version = tuple(int(part) for part in re.findall(r'\d+', mmcv.__version__)[:2])
    if version >= UNTRIED_MMCV:
        warnings.warn(
            f'MMCV {mmcv.__version__} was never tried with MMagic 1.2; should it fail, install '
            'mmcv-lite==2.1.0',
            stacklevel=2,
        )


def import_adafactor_on_use(source: bytes) -> ast.Module:
    """Let MMEngine register the optimiser ``Adafactor`` without importing transformers."""
    # Importing MMEngine's optimisers (0.9 to 0.10.7) imports transformers for one class: that takes
    # seconds, warns, and can fail with more than an ImportError.
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == 'register_transformers_optimizers':
            node.body = ast.parse(
                'from mmsamdistill.compat.source_patches import register_adafactor\n'
                'return register_adafactor(OPTIMIZERS)'
            ).body
    # A return outside of a function is an error of compilation, not of parsing.
    return ast.fix_missing_locations(tree)


def _build_adafactor(*args: Any, **kwargs: Any) -> torch.optim.Optimizer:
    """Build transformers' Adafactor."""
    from transformers import Adafactor

    return Adafactor(*args, **kwargs)


def register_adafactor(registry: Registry) -> list[str]:
    """Register Adafactor as MMEngine does, without importing transformers."""
    if importlib.util.find_spec('transformers') is None:
        return []
    registry.register_module(name='Adafactor', module=_build_adafactor)
    return ['Adafactor']


def replace_saved_variables(source: bytes) -> ast.Module:
    """Write ``ctx.saved_tensors`` where NAFNet's normalisation says ``ctx.saved_variables``."""
    # torch has deprecated the old name, and torch.compile does not know it: NAFNet would be
    # compiled in pieces, between normalisations.
    return _RenameAttribute('ctx', 'saved_variables', 'saved_tensors').visit(ast.parse(source))


SOURCE_PATCHES: dict[str, Callable[[bytes], ast.Module]] = {
    'mmagic': raise_mmcv_bound,
    'mmengine.optim.optimizer.builder': import_adafactor_on_use,
    'mmagic.models.editors.nafnet.naf_layerNorm2d': replace_saved_variables,
    'mmagic.utils.trans_utils': replace_numpy_bool8,
}
