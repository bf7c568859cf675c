"""Finding, checking and safely reading the weights of the Segment Anything Model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import nn

from mmsamdistill.files import hash_file
from mmsamdistill.weights.loading import read_weights
from mmsamdistill.weights.sam_files import OFFICIAL_FILES, OfficialFile, official_of_name


def locate_weights(
    checkpoint: str | Path,
    sha256: str | None = None,
    official: Mapping[str, OfficialFile] = OFFICIAL_FILES,
) -> Path:
    """Path of a checkpoint on this machine; a URL is downloaded once into torch.hub's folder.

    A download is checked while it runs and appears under its name only when it is whole.

    Example:
        >>> locate_weights('nowhere/sam.pth')
        Traceback (most recent call last):
        FileNotFoundError: no SAM checkpoint at nowhere/sam.pth; ...
    """
    if urlparse(str(checkpoint)).scheme not in ('http', 'https', 'file'):
        path = Path(checkpoint).expanduser()
        if not path.is_file():
            urls = ', '.join(file.url for file in official.values())
            raise FileNotFoundError(
                f'no SAM checkpoint at {path}; the official ones are {urls}, and '
                f'checkpoint=None downloads the one of the model type'
            )
        return path
    url = str(checkpoint)
    path = Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(url).path).name)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        published = official_of_name(path.name)
        expected = sha256 or (published.sha256 if published else None)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=expected)
    return path


def verify_weights(path: Path, sha256: str | None = None) -> str:
    """Check a checkpoint file against the hash that is expected of it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, 'a.pth').write_bytes(b'')
        ...     verify_weights(Path(folder, 'a.pth'))[:8]
        'e3b0c442'
    """
    official = official_of_name(path.name)
    if sha256 is None and official is not None and official.size is not None:
        size = path.stat().st_size
        if size != official.size:
            raise ValueError(
                f'{path} has {size} bytes, but {official.name} has {official.size}: the download '
                f'was cut short or it is another file; fetch it again from {official.url}'
            )
    actual = hash_file(path)
    expected = sha256 or (official.sha256 if official else '')
    if not actual.startswith(expected.lower()):
        raise ValueError(
            f'{path} has SHA-256 {actual}, expected {expected}: it is damaged or another file'
        )
    return actual


def load_weights(
    network: nn.Module,
    path: Path,
    model_type: str,
    choices: Iterable[str] = OFFICIAL_FILES,
) -> None:
    """Load a checkpoint into a network, every key of both used.

    Example:
        >>> import tempfile
        >>> layer = nn.Linear(1, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(nn.Linear(1, 1).state_dict(), Path(folder, 'a.pth'))
        ...     load_weights(layer, Path(folder, 'a.pth'), 'linear')
    """
    state = read_weights(path)
    wanted = network.state_dict()
    wrong = sorted(
        name
        for name in state.keys() | wanted.keys()
        if name not in state or name not in wanted or state[name].shape != wanted[name].shape
    )
    if wrong:
        models = ', '.join(choices)
        remedy = f'choose the model_type ({models})' if models else 'give the builder of the model'
        raise ValueError(
            f'{path} is not a checkpoint of SAM {model_type}: {len(wrong)} of {len(wanted)} '
            f'tensors are missing, unknown or of another shape, e.g. {", ".join(wrong[:3])}; '
            f'{remedy} that the file was made for'
        )
    network.load_state_dict(state, strict=True)


def hash_state(network: nn.Module) -> str:
    """SHA-256 over names and values of a network's state, for networks that came without a file.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> hash_state(layer) == hash_state(layer), hash_state(layer) == hash_state(nn.Linear(2, 2))
        (True, False)
    """
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
