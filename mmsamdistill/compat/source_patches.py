"""Modules of MMagic that need one line changed before they can be executed."""

import importlib.util
import re
import warnings
from collections.abc import Callable
from typing import Any

import torch
from mmengine.registry import Registry

UNTRIED_MMCV = (2, 4)


def replace_numpy_bool8(source: bytes) -> bytes:
    """Write ``np.bool_`` where ``mmagic.utils.trans_utils`` says ``np.bool8``."""
    # NumPy 2.0 removed the alias. The module alone is amended: adding the alias to numpy would make
    # other libraries believe they run on NumPy 1.
    return re.sub(rb'\bnp\.bool8\b', b'np.bool_', source)


def raise_mmcv_bound(source: bytes) -> bytes:
    """Turn MMagic's refusal of newer MMCVs into a hint, and that for untried ones only."""
    # mmagic/__init__ (to 1.2.0) asserts mmcv < 2.2.0, the release that was to come when it was
    # written. MMCV 2.2.0 differs in compiled operators, not in an interface that MMagic uses; the
    # fork onedl-mmcv 2.3.6 trains, validates and tests. What comes after was never tried.
    hint = (
        b"MMCV_MAX = '99.0.0'; "
        b'from mmsamdistill.compat.source_patches import hint_at_untried_mmcv as hint; hint()'
    )
    return re.sub(rb"^MMCV_MAX = '2\.2\.0'", hint, source, flags=re.MULTILINE)


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


def import_adafactor_on_use(source: bytes) -> bytes:
    """Let MMEngine register the optimiser ``Adafactor`` without importing transformers."""
    # Importing MMEngine's optimisers (0.9 to 0.10.7) imports transformers for one class: that takes
    # seconds, warns, and can fail with more than an ImportError.
    ours = (
        rb'\1    from mmsamdistill.compat.source_patches import register_adafactor\n'
        rb'    return register_adafactor(OPTIMIZERS)\n'
    )
    return re.sub(rb'(\ndef register_transformers_optimizers\(.*:\n)', ours, source)


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


def replace_saved_variables(source: bytes) -> bytes:
    """Write ``ctx.saved_tensors`` where NAFNet's normalisation says ``ctx.saved_variables``."""
    # torch has deprecated the old name, and torch.compile does not know it: NAFNet would be
    # compiled in pieces, between normalisations.
    return re.sub(rb'\bctx\.saved_variables\b', b'ctx.saved_tensors', source)


SOURCE_PATCHES: dict[str, Callable[[bytes], bytes]] = {
    'mmagic': raise_mmcv_bound,
    'mmengine.optim.optimizer.builder': import_adafactor_on_use,
    'mmagic.models.editors.nafnet.naf_layerNorm2d': replace_saved_variables,
    'mmagic.utils.trans_utils': replace_numpy_bool8,
}
