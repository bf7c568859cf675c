"""Weights of torchvision's networks, from a file or by the name torchvision gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmsamdistill.weights.dialects import read_weights
from mmsamdistill.weights.matching import require_same_keys

# What torchvision's networks expect their input to be normalised by, RGB in 0 to 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Heads that only training uses; whether a checkpoint has them is a matter of its author's taste.
_AUXILIARY = ('aux_classifier.', 'auxiliary_head.')


def read_torchvision_weights(weights: str | Path, model: str) -> dict[str, Tensor]:
    """Read the weights of one of torchvision's networks: a file in any dialect, or by their name.

    Only what has a name of torchvision's, such as 'IMAGENET1K_V1', is ever downloaded.
    """
    from torchvision.models import get_model_weights

    named = {each.name: each for each in get_model_weights(model)}
    if str(weights) in named:
        return read_weights(_cached(named[str(weights)].url))
    if not Path(weights).is_file():
        files = ', '.join(f'{each.url} ({name!r})' for name, each in named.items())
        raise FileNotFoundError(
            f'no weights of {model} at {str(weights)!r}; give the path of a .pth or .safetensors '
            f"file, or the name of torchvision's own weights to download them: {files}"
        )
    return read_weights(weights)


def load_completely(network: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Load weights into a network, all of them, heads that only training uses left aside."""
    reference = network.state_dict()
    unused = tuple(p for p in _AUXILIARY if not any(key.startswith(p) for key in reference))
    given: dict[str, Any] = {k: v for k, v in weights.items() if not k.startswith(unused)}
    # Networks saved before PyTorch 0.4.1 have no such counters, and evaluation does not use them.
    for key in reference:
        if key.endswith('.num_batches_tracked'):
            given.setdefault(key, reference[key])
    require_same_keys(given, reference, what)
    network.load_state_dict(given, strict=True)


def _cached(url: str) -> Path:
    path = Path(torch.hub.get_dir(), 'checkpoints', Path(url).name)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    # The file's name ends in the first digits of its hash.
    digest = path.stem.rpartition('-')[2]
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest)
    except OSError as error:
        raise FileNotFoundError(
            f'{path.name} could not be downloaded ({error}). Download {url} where that is '
            f'possible, and put it at {path}, or give its path as weights'
        ) from error
    return path
