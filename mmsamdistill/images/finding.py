"""Which files of a folder are its images: one rule for every tool."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
LOOP = 'link to a folder around it'


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder and of all folders below it.

    Attributes:
        files: Paths by key, the path relative to the folder without its suffix; sorted by key.
        skipped: What is there and not taken: the reason by path.
    """

    files: dict[str, Path]
    skipped: dict[Path, str]

    def remark(self) -> str:
        """One line on what was not taken; empty if nothing was left out."""
        if not self.skipped:
            return ''
        kinds = ', '.join(f'{n} {kind}' for kind, n in Counter(self.skipped.values()).most_common())
        return f'skipped {len(self.skipped)} file{"s" * (len(self.skipped) > 1)} ({kinds})'


def find_images(folder: str | Path) -> ImageFolder:
    """Find the images of a folder.

    Taken are files with one of :data:`IMAGE_SUFFIXES` in upper, lower or mixed case, in the folder
    and in all folders below it, linked ones too. Not taken are other suffixes, names that begin
    with a dot, which systems and half-written files have, pipes and devices, and links that lead
    back to a folder around themselves.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f'the image folder {folder} does not exist')
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder} is a file; give the folder of the images')
    found: dict[str, Path] = {}
    skipped: dict[Path, str] = {}
    for path, reason in walk_folder(folder):
        if reason:
            skipped[path] = reason
            continue
        key = path.relative_to(folder).with_suffix('').as_posix()
        if key in found:
            raise ValueError(
                f'{found[key]} and {path} have the same name but for the suffix: rename or move one'
            )
        found[key] = path
    images = ImageFolder(dict(sorted(found.items())), skipped)
    if not found:
        remark = f'; {images.remark()}' if skipped else ''
        raise FileNotFoundError(
            f'{folder} holds no image ({", ".join(IMAGE_SUFFIXES)}, in any case){remark}'
        )
    return images


def walk_folder(folder: Path, around: tuple[Path, ...] = ()) -> Iterator[tuple[Path, str]]:
    """All files with the reason why each is no image, or '', in one order everywhere.

    ``around``: the real folders that this one lies in.
    """
    around = (*around, folder.resolve())
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        path = Path(entry.path)
        if entry.name.startswith('.'):
            yield path, 'hidden'
        # Not entry.is_dir(), which raises for links in a circle.
        elif not os.path.isdir(path):
            suffix = path.suffix.lower()
            if suffix not in IMAGE_SUFFIXES:
                yield path, suffix or 'without suffix'
            else:  # what leads nowhere is an error of whoever reads it
                odd = os.path.exists(path) and not os.path.isfile(path)
                yield path, 'pipe or device' if odd else ''
        elif path.resolve() in around:
            yield path, LOOP
        else:
            yield from walk_folder(path, around)


def check_beside(path: str | Path, folders: Iterable[str | Path]) -> None:
    """Require that what is written lies in none of the folders whose images are read."""
    path = Path(path)
    for folder in folders:
        if Path(folder).resolve() in (path.resolve(), *path.resolve().parents):
            raise ValueError(
                f'{path} would lie among the images of {folder} and be taken for one of them the '
                'next time: choose another path'
            )


def sample_paths(info: Mapping[str, Any]) -> list[str]:
    """Paths of a sample's degraded images, else of its truths; none if it does not tell."""
    # The degraded image first: several of them may share one truth.
    for key in ('img_path', 'gt_path'):
        paths = info.get(key)
        paths = paths if isinstance(paths, (list, tuple)) else [paths]
        if any(paths):
            return [str(path) for path in paths if path]
    return []


def sample_path(info: Mapping[str, Any]) -> str:
    """The first of :func:`sample_paths`; empty if there is none."""
    return next(iter(sample_paths(info)), '')
