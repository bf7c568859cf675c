"""Weights of the networks of torchvision and transformers: by path or by their own names."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from mmsamdistill.files import hash_file
from mmsamdistill.version import needs
from mmsamdistill.weights.dialects import read_weights, require_same_keys
from mmsamdistill.weights.reading import reason_of

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
        url = named[str(weights)].url
        # The file's name ends in the first digits of its hash.
        return read_weights(download_once(url, Path(url).stem.rpartition('-')[2]))
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


def download_once(url: str, sha256: str | None, folder: str | None = None) -> Path:
    """Path of a file in a folder (torch's cache), downloaded if it is not there, then checked."""
    path = Path(folder or Path(torch.hub.get_dir(), 'checkpoints'), Path(urlparse(url).path).name)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Checked while it runs; it appears under its name only when it is whole.
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256)
        except OSError as error:
            raise FileNotFoundError(
                f'{path.name} could not be downloaded ({error}): fetch {url} where there is a '
                f'network, and put it at {path}, or give its path'
            ) from error
    return path


def locate_transformers_model(
    checkpoint: str | Path, revision: str | None = None, download: bool = False
) -> tuple[Path, str | None]:
    """Folder of a model, and its revision if it lies in the hub's cache."""
    folder = Path(checkpoint).expanduser()
    if not folder.is_dir():
        folder = _in_hub_cache(str(checkpoint), revision, download)
    if not (folder / 'config.json').is_file():
        raise FileNotFoundError(f'{folder} holds no model of transformers: no config.json')
    weight_files(folder)
    return folder, folder.name if folder.parent.name == 'snapshots' else None


def weight_files(folder: Path) -> list[Path]:
    """The files of a model's weights: one, or all of its shards."""
    whole = folder / 'model.safetensors'
    files = [whole] if whole.is_file() else sorted(folder.glob('model-*.safetensors'))
    if not files:
        others = sorted(each.name for each in folder.glob('*') if each.suffix in ('.bin', '.pt'))
        found = f'only {", ".join(others)}, which is not read: it' if others else 'and nothing else'
        reason = f'{found} could execute code' if others else 'is its folder complete?'
        raise FileNotFoundError(f'{folder} holds no model.safetensors: {reason}')
    return files


def hash_weights(folder: Path) -> str:
    """SHA-256 of a model's weights: of the file, or over the names and hashes of its shards."""
    files = weight_files(folder)
    if len(files) == 1:
        return hash_file(files[0])
    lines = [f'{hash_file(each)}  {each.name}\n' for each in files]
    return hashlib.sha256(''.join(lines).encode()).hexdigest()


def _in_hub_cache(name: str, revision: str | None, download: bool) -> Path:
    with needs(
        f"{name!r} is no folder, and looking into the hub's cache needs transformers: "
        "pip install 'mmsamdistill[transformers]'"
    ):
        from huggingface_hub import snapshot_download
    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                local_files_only=not download,
                allow_patterns=['*.json', '*.safetensors'],
            )
        )
    except (OSError, ValueError) as error:
        # Not in the cache, no network, no such model, or no possible name at all.
        at = f' at revision {revision}' if revision else ''
        where = 'to be had from the hub' if download else "in the hub's cache"
        remedy = 'give the path of its folder' + ('' if download else ', or download=True')
        raise FileNotFoundError(
            f'{name!r}{at} is neither a folder nor {where}; {remedy} ({reason_of(error)})'
        ) from error
