"""Modules of MMagic that need one line changed before they can be executed."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable

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
    """Write ``np.bool_`` where ``mmagic.utils.trans_utils`` says ``np.bool8``.

    Reason: NumPy 2.0 removed the alias (and 1.24 to 1.26 warn of it), so ``mmagic.utils`` and all
    that imports it fails. It is the only name in MMagic that NumPy 2 lacks. The module alone is
    amended: adding the alias to numpy would make other libraries believe they run on NumPy 1.

    Affected: MMagic 1.0 to 1.2.0 with NumPy 2. Unnecessary once MMagic writes ``np.bool_``.

    Example:
        >>> ast.unparse(replace_numpy_bool8(b'kind = np.bool8'))
        'kind = np.bool_'
    """
    return _RenameAttribute('np', 'bool8', 'bool_').visit(ast.parse(source))


def raise_mmcv_bound(source: bytes) -> ast.Module:
    """Turn MMagic's refusal of newer MMCVs into a hint, and that for untried ones only.

    Reason: ``mmagic/__init__`` asserts ``mmcv < 2.2.0``, the release that was to come when it was
    written. Compared file by file with 2.1.0, MMCV 2.2.0 differs in compiled operators (further
    devices) and the four Python files that call them, not in an interface that MMagic uses; the
    fork onedl-mmcv 2.3.6 trains, validates and tests. What comes after was never tried.

    Affected: MMagic up to 1.2.0. Unnecessary once MMagic itself accepts newer MMCVs.

    Example:
        >>> print(ast.unparse(raise_mmcv_bound(b"MMCV_MAX = '2.2.0'")))
        MMCV_MAX = '99.0.0'
        from mmsamdistill.compat.source_patches import hint_at_untried_mmcv
        hint_at_untried_mmcv()
    """
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
    """Let MMEngine register the optimiser ``Adafactor`` without importing transformers.

    Reason: importing MMEngine's optimisers imports transformers, if installed, for one class; that
    takes seconds, an old one warns of torch's deprecations, and one that does not fit the installed
    torch can fail with more than an ImportError. The class is now imported when it is built.

    Affected: MMEngine 0.9 to 0.10.7. Unnecessary once MMEngine imports it on demand.
    """
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == 'register_transformers_optimizers':
            node.body = ast.parse(
                'from mmsamdistill.compat.adafactor import register_adafactor\n'
                'return register_adafactor(OPTIMIZERS)'
            ).body
    # A return outside of a function is an error of compilation, not of parsing.
    return ast.fix_missing_locations(tree)


def replace_saved_variables(source: bytes) -> ast.Module:
    """Write ``ctx.saved_tensors`` where NAFNet's layer normalisation says ``ctx.saved_variables``.

    Reason: torch has deprecated the old name and warns of it at the first backward pass, and
    ``torch.compile`` does not know it: NAFNet would be compiled in pieces, between normalisations.

    Affected: MMagic 1.0 to 1.2.0. Unnecessary once MMagic writes ``ctx.saved_tensors``.

    Example:
        >>> ast.unparse(replace_saved_variables(b'y, var, weight = ctx.saved_variables'))
        'y, var, weight = ctx.saved_tensors'
    """
    return _RenameAttribute('ctx', 'saved_variables', 'saved_tensors').visit(ast.parse(source))


SOURCE_PATCHES: dict[str, Callable[[bytes], ast.Module]] = {
    'mmagic': raise_mmcv_bound,
    'mmengine.optim.optimizer.builder': import_adafactor_on_use,
    'mmagic.models.editors.nafnet.naf_layerNorm2d': replace_saved_variables,
    'mmagic.utils.trans_utils': replace_numpy_bool8,
}
