"""Images of several folders or models that belong together: one column each, the truth last."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from mmsamdistill.command_line import read_config
from mmsamdistill.deploy.image_files import restore_file
from mmsamdistill.deploy.restorer import Restorer
from mmsamdistill.images import decode_image, find_images

TRUTH = 'truth'
"""Name of the column that the others are measured against."""
DEGRADED = 'degraded'
"""Name of the column that restorers are given; the only one besides the truth that is no model."""


@dataclass(frozen=True)
class Columns:
    """The images to compare.

    Args:
        files: Paths by column and by key, the path relative to the column's folder without suffix.
            The truth is the last column.
        keys: The images, each of which every column has.

    Example:
        >>> paths = {'a': Path('a.png')}
        >>> Columns({'plain': paths, 'distilled': paths, 'truth': paths}, ('a',)).pair
        ('plain', 'distilled')
    """

    files: Mapping[str, Mapping[str, Path]]
    keys: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """All columns, the truth last."""
        return list(self.files)

    @property
    def models(self) -> list[str]:
        """The columns that are results of a restorer."""
        return [name for name in self.files if name not in (DEGRADED, TRUTH)]

    @property
    def pair(self) -> tuple[str, str] | None:
        """The two columns between which gains are meant: first and last model.

        With one model it is measured against the degraded images; without these either, there is
        nothing to gain.
        """
        candidates = self.models
        if len(candidates) == 1 and DEGRADED in self.files:
            candidates = [DEGRADED, *candidates]
        return (candidates[0], candidates[-1]) if len(candidates) > 1 else None

    def only(self, keys: Sequence[str]) -> 'Columns':
        """The same columns with fewer images."""
        return dataclasses.replace(self, keys=tuple(keys))

    def read(self, key: str) -> dict[str, np.ndarray]:
        """Read one image in every column: ``(H, W, 3)`` uint8 in RGB, one size for all."""
        pictures = {name: read_picture(files[key]) for name, files in self.files.items()}
        height, width, _ = pictures[TRUTH].shape
        for name, picture in pictures.items():
            if picture.shape != (height, width, 3):
                raise ValueError(
                    f'{self.files[name][key]} has {picture.shape[1]} x {picture.shape[0]} pixels, '
                    f'but the truth {self.files[TRUTH][key]} has {width} x {height}: cut what was '
                    f'padded or scaled, in all of column {name!r}'
                )
        return pictures


def read_picture(path: str | Path) -> np.ndarray:
    """Read an image file, as 8 bit in RGB."""
    try:
        return decode_image(Path(path).read_bytes(), path)
    except (ValueError, OSError) as error:
        raise ValueError(
            f'{error}: make or copy this file anew, or leave the image out of the comparison'
        ) from error


def fit_to_size(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale a picture that is shown as a whole; crops never go through here."""
    reduced = width <= picture.shape[1]
    how = cv2.INTER_AREA if reduced else cv2.INTER_CUBIC
    return cv2.resize(picture, (width, height), interpolation=how)


def find_columns(folders: Mapping[str, str | Path], images: Sequence[str] | None = None) -> Columns:
    """Match the images of several folders by name, without reading them.

    Every image must be in every folder: a mean over what happens to be there would compare
    different things without saying so.

    Args:
        folders: Folders by column, one of which is ``'truth'``; it becomes the last column.
        images: Keys of the images to compare, in order. Default: all, sorted by name.

    Raises:
        FileNotFoundError: If a folder does not exist or holds no image, or an image has no partner.
        KeyError: If there is no truth, or nothing to compare it with, or no image of a given name.
        ValueError: If two files of a folder have the same key.
    """
    if TRUTH not in folders or len(folders) < 2:
        raise KeyError(f'columns {list(folders)}: expected {TRUTH!r} and at least one other')
    # The truth is the last column, wherever it was named.
    order = [name for name in folders if name != TRUTH] + [TRUTH]
    files = {name: find_images(folders[name]).files for name in order}
    # What is named has to exist, and every column has to have it.
    for key in images or ():
        if key not in files[TRUTH]:
            raise KeyError(
                f'there is no image {key!r} in {folders[TRUTH]}: names are paths below this folder '
                f'without suffix, such as {next(iter(files[TRUTH]))!r}'
            )
    keys = list(dict.fromkeys(images or files[TRUTH]))
    for name in order:
        missing = [key for key in keys if key not in files[name]]
        if missing:
            raise FileNotFoundError(
                f'{files[TRUTH][missing[0]]} has no partner {missing[0]}.* in {folders[name]}, '
                f'column {name!r} (missing: {len(missing)} of {len(keys)}): restore them, or name '
                'the images'
            )
        # And where all images are compared, none may be left over.
        extra = [key for key in files[name] if key not in files[TRUTH]] if images is None else []
        if extra:
            raise FileNotFoundError(
                f'{files[name][extra[0]]} of column {name!r} has no partner {extra[0]}.* in '
                f'{folders[TRUTH]} ({len(extra)} have none): move it away, or name the images'
            )
    return Columns(files, tuple(keys))


def restore_column(
    config: str | Path,
    checkpoint: str | Path,
    degraded: Mapping[str, Path],
    folder: str | Path,
    name: str = 'restore',
    **options: Any,
) -> dict[str, Path]:
    """Make a column that no folder holds yet: restore images as ``tools/restore.py`` does.

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
        FloatingPointError: If a result is not finite.
        ValueError: If the weights do not fit, or an image cannot be read.
    """
    restorer = Restorer(read_config(config), checkpoint, **options)
    restored = {}
    for key, path in tqdm(degraded.items(), desc=name, unit='image', disable=None):
        restored[key] = Path(folder, f'{key}.png')
        try:
            restore_file(restorer, path, restored[key])
        except FloatingPointError as error:
            raise FloatingPointError(f'column {name!r}, {path}: {error}') from error
    return restored
