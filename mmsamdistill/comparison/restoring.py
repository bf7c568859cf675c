"""A column that no folder holds yet: a model, run on the degraded images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mmsamdistill.command_line import read_config
from mmsamdistill.deploy.image_files import restore_file
from mmsamdistill.deploy.restorer import Restorer


def restore_column(
    config: str | Path,
    checkpoint: str | Path,
    degraded: Mapping[str, Path],
    folder: str | Path,
    name: str = 'restore',
    **options: Any,
) -> dict[str, Path]:
    """Restore images with a trained model, as ``tools/restore.py`` does.

    Args:
        config: Config of the checkpoint; of a distilled one, the student restores.
        checkpoint: Weights in any dialect.
        degraded: Images to restore, by key.
        folder: Where the results go, as PNG.
        name: Title of the progress bar.
        options: ``tile``, ``overlap``, ``device`` and ``ema`` of
            :class:`~mmsamdistill.deploy.restorer.Restorer`.

    Returns:
        The results by key.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        ValueError: If the weights do not fit, or an image cannot be read.
    """
    restorer = Restorer(read_config(config), checkpoint, **options)
    restored = {}
    for key, path in tqdm(degraded.items(), desc=name, unit='image', disable=None):
        restored[key] = Path(folder, f'{key}.png')
        restore_file(restorer, path, restored[key])
    return restored
