"""Files that are whole or not there, and written by one process at a time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Wait until no other process is inside the block with the same path.

    The operating system releases the lock of a killed process. Where there are no such locks
    (Windows, some network file systems) nobody waits.

    Args:
        path: Of an empty file that stands for what is protected; it is made and stays, as do
            parent folders.

    Source: ours.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('ab') as file:
        with contextlib.suppress(ImportError, OSError):
            import fcntl  # not there on Windows

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file to write, which appears under its name whole, flushed to disk, or not at all.

    Args:
        path: Where it is to lie; parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, since a rename is atomic only within one file system.
    handle, temporary = tempfile.mkstemp(prefix=f'.{path.name}.', dir=path.parent)
    try:
        with os.fdopen(handle, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _flush_folder(path.parent)


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file so that a killed process leaves either the old content or the new one.

    Args:
        path: Where to write; parent folders are made.
        data: The whole content.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder, 'a', 'b.txt'), b'text')
        ...     Path(folder, 'a', 'b.txt').read_bytes()
        b'text'
    """
    with atomic_file(path) as file:
        file.write(data)


def _flush_folder(folder: Path) -> None:
    # The new name itself is on disk only then; Windows cannot open a folder and needs no such call.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    # The only portable way to read it is to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
