"""Models in the layout of the library transformers: found without a download, weights hashed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mmsamdistill.files import hash_file


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
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            f"{name!r} is no folder, and looking into the hub's cache needs transformers: "
            "pip install 'mmsamdistill[transformers]'"
        ) from error
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
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = 'to be had from the hub' if download else "in the hub's cache"
        remedy = 'give the path of its folder' + ('' if download else ', or download=True')
        raise FileNotFoundError(
            f'{name!r}{at} is neither a folder nor {where}; {remedy} ({reason})'
        ) from error
