"""Files that are whole or not there."""

import contextlib
import hashlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

_TEMPORARY = '.mmsamdistill-writing'
_OLD_S = 86400.0
_DEEPEST = 50
# Folders in which what killed writers left has been looked for; once in a process is enough.
_swept: set[Path] = set()


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file in hexadecimal, read in pieces."""
    digest = hashlib.sha256()
    with Path(path).open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def parse_json(text: str | bytes, where: str | Path) -> Any:
    """Parse JSON that anybody may have written; ValueError naming the file for anything else.

    Refused are nesting beyond all use and text that no file or screen can show, which would end in
    a RecursionError or a UnicodeError far from here.
    """
    try:
        value = json.loads(text)
        waiting = [(value, 0)]
        while waiting:
            item, depth = waiting.pop()
            if depth > _DEEPEST:
                raise ValueError(f'nested deeper than {_DEEPEST}')
            if isinstance(item, dict):
                waiting += [(each, depth + 1) for pair in item.items() for each in pair]
            elif isinstance(item, list):
                waiting += [(each, depth + 1) for each in item if not isinstance(each, int)]
            elif isinstance(item, str):
                item.encode()
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{where} is damaged or no JSON: {error}') from error
    return value


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file to write, which appears under its name whole, flushed to disk, or not at all.

    What earlier writers that were killed left in the folder is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent not in _swept:
        _swept.add(path.parent)
        _remove_leftovers(path.parent)
    # In the same folder, since a rename is atomic only within one file system. Not named after the
    # file, whose name may be as long as names can be.
    prefix = f'{_TEMPORARY}-{_machine()}-{os.getpid()}-'
    handle, temporary = tempfile.mkstemp(prefix=prefix, dir=path.parent)
    try:
        with os.fdopen(handle, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        _raise_for_disk(error, path)
        raise
    _flush_folder(path.parent)


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file so that a killed process leaves either the old content or the new one."""
    with atomic_file(path) as file:
        file.write(data)


def _raise_for_disk(error: BaseException | None, path: Path) -> None:
    """Name the file where the disk is full; torch's own error then says so nowhere."""
    while error is not None:
        if isinstance(error, OSError) and error.errno and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        error = error.__context__


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files of this machine's processes that are no more, and very old ones."""
    for path in folder.glob(f'{_TEMPORARY}-*'):
        # A name of another form is nobody's leftover, and a file may go in the same moment.
        with contextlib.suppress(OSError, ValueError):
            _, machine, pid, _ = path.name.removeprefix(_TEMPORARY).split('-')
            is_old = time.time() - path.stat().st_mtime > _OLD_S
            if is_old or (machine == _machine() and not _is_alive(int(pid))):
                path.unlink()


@cache
def _machine() -> str:
    """What tells machines, and containers with processes of their own, from one another."""
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        name += os.readlink('/proc/self/ns/pid')
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _is_alive(pid: int) -> bool:
    if os.name != 'posix':
        return True  # there, the signal below would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
