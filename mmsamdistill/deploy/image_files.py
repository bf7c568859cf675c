"""From image files to restored image files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from mmsamdistill.deploy.picture import Picture, encode_png, read_picture
from mmsamdistill.deploy.restorer import Restorer
from mmsamdistill.files import write_atomically


def restore_files(
    restorer: Restorer,
    results: Mapping[Path, Path],
    notes: dict[str, list[Path]] | None = None,
    batch_size: int = 1,
) -> Iterator[tuple[Path, Exception | None]]:
    """Restore image files to PNG; yields each when it is done, and why it failed, if it did.

    ``results`` says where each goes; ``notes`` gets what results cannot keep, with the files.
    """
    if batch_size < 1:
        raise ValueError(f'batch_size={batch_size} must be at least 1')
    notes = {} if notes is None else notes
    read = (_try_to_read(path) for path in results)
    for _, run in groupby(read, lambda pair: _likeness(pair[1])):
        while part := list(islice(run, batch_size)):
            for path, outcome in _restore_part(restorer, part):
                try:
                    if isinstance(outcome, Exception):
                        raise outcome
                    write_atomically(results[path], encode_png(outcome))
                except Exception as error:  # whatever it is, the other files go on
                    yield path, error
                    continue
                for note in outcome.notes:
                    notes.setdefault(note, []).append(path)
                yield path, None


def restore_file(restorer: Restorer, path: Path, result: Path) -> None:
    """Restore one image file, or say why not."""
    for _, error in restore_files(restorer, {path: result}):
        if error is not None:
            raise error


def _restore_part(
    restorer: Restorer, part: list[tuple[Path, Any]]
) -> Iterable[tuple[Path, Picture | Exception]]:
    if any(isinstance(outcome, Exception) for _, outcome in part):
        return part
    try:
        pixels = restorer([picture.pixels for _, picture in part], batch_size=len(part))
    except Exception as error:
        if len(part) == 1:
            return [(part[0][0], error)]
        # One of them is at fault: each for itself.
        return [each for one in part for each in _restore_part(restorer, [one])]
    for (_, picture), restored in zip(part, pixels, strict=True):
        picture.pixels = restored
    return part


def _try_to_read(path: Path) -> tuple[Path, Picture | Exception]:
    try:
        return path, read_picture(path)
    except Exception as error:
        return path, error


def _likeness(outcome: Picture | Exception) -> tuple:
    if isinstance(outcome, Exception):
        return ('failed', id(outcome))
    return outcome.pixels.shape, outcome.pixels.dtype
