"""Modules of MMagic that need one line changed before they can be executed."""

import importlib.util
import re
import warnings
from typing import Any

import torch
from mmengine.registry import Registry
from mmengine.utils import digit_version

_UNTRIED_MMCV = '2.4'
# By module what is replaced in its source, a regular expression, and by what.
SOURCE_PATCHES: dict[str, tuple[bytes, bytes]] = {
    # mmagic/__init__ (to 1.2.0) asserts mmcv < 2.2.0, the release that was to come when it was
    # written. MMCV 2.2.0 differs in compiled operators, not in an interface that MMagic uses; the
    # fork onedl-mmcv 2.3.6 trains, validates and tests. What comes after was never tried.
    'mmagic': (
        rb"(?m)^MMCV_MAX = '2\.2\.0'",
        b"MMCV_MAX = '99.0.0'; "
        b'from mmsamdistill.compat.source_patches import hint_at_untried_mmcv as hint; hint()',
    ),
    # Importing MMEngine's optimisers (0.9 to 0.10.7) imports transformers for one class: that takes
    # seconds, warns, and can fail with more than an ImportError.
    'mmengine.optim.optimizer.builder': (
        rb'(\ndef register_transformers_optimizers\(.*:\n)',
        rb'\1    from mmsamdistill.compat.source_patches import register_adafactor\n'
        rb'    return register_adafactor(OPTIMIZERS)\n',
    ),
    # torch has deprecated the old name, and torch.compile does not know it: NAFNet would be
    # compiled in pieces, between normalisations.
    'mmagic.models.editors.nafnet.naf_layerNorm2d': (
        rb'\bctx\.saved_variables\b',
        b'ctx.saved_tensors',
    ),
    # NumPy 2.0 removed the alias. The module alone is amended: adding the alias to numpy would make
    # other libraries believe they run on NumPy 1.
    'mmagic.utils.trans_utils': (rb'\bnp\.bool8\b', b'np.bool_'),
}


def amended(module: str, source: bytes) -> bytes:
    """The source of one of the modules above, changed."""
    return re.sub(*SOURCE_PATCHES[module], source)


def hint_at_untried_mmcv() -> None:
    """Warn if MMCV is newer than any that MMagic was tried with."""
    import mmcv

    if digit_version(mmcv.__version__) >= digit_version(_UNTRIED_MMCV):
        warnings.warn(
            f'MMCV {mmcv.__version__} was never tried with MMagic 1.2; should it fail, install '
            'mmcv-lite==2.1.0',
            stacklevel=2,
        )


def register_adafactor(registry: Registry) -> list[str]:
    """Register transformers' Adafactor as MMEngine does, without importing transformers."""
    if importlib.util.find_spec('transformers') is None:
        return []
    registry.register_module(name='Adafactor', module=_build_adafactor)
    return ['Adafactor']


def _build_adafactor(*args: Any, **kwargs: Any) -> torch.optim.Optimizer:
    from transformers import Adafactor

    return Adafactor(*args, **kwargs)
