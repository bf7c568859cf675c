"""Files that are whole or not there, and written by one process at a time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


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
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, since a rename is atomic only within one file system.
    handle, temporary = tempfile.mkstemp(prefix=f'.{path.name}.', dir=path.parent)
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    # The only portable way to read it is to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
