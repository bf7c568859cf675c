"""Prepare the virtual environment of `make demo` and `make test`; do nothing if it is ready.

Standard library only: it runs under the interpreter that will make the environment. A small record
inside the environment says what was installed into it. The environment is

- left alone when its record tells of this lock file, set-up, place and interpreter;
- updated in place when only the lock file or the package's set-up has changed;
- rebuilt when it was made elsewhere, by another interpreter, by other means, or only half.

Usage: python requirements/make_env.py FOLDER [--this-python]
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / 'requirements' / 'lock.txt'
RECORD = 'mmsamdistill-env.json'
# What decides whether an environment is up to date.
SOURCES = (LOCK, ROOT / 'setup.py', ROOT / 'pyproject.toml', ROOT / 'mmsamdistill' / 'version.py')
# Imported once after the installation: a broken environment is reported here, not in mid-run.
IMPORTS = 'cv2, torch, torchvision, mmengine, mmcv, mmsamdistill'
# Set by users for other purposes, these would send packages somewhere else.
UNWANTED = ('PYTHONPATH', 'PYTHONHOME', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_USER', 'PIP_ROOT')


def base_python() -> str:
    """Return the interpreter that is not itself inside a virtual environment."""
    return getattr(sys, '_base_executable', None) or sys.executable


def identify(python: str | Path) -> str | None:
    """Return version and origin of an interpreter, None if it does not run."""
    code = "import sys; print('.'.join(map(str, sys.version_info[:3])), sys.base_prefix)"
    try:
        done = subprocess.run(
            [str(python), '-I', '-c', code], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def fingerprint(sources: Sequence[Path] = SOURCES) -> str:
    """Return a hash of everything that is installed from."""
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.name.encode() + b'\0' + path.read_bytes())
    return digest.hexdigest()


def read_record(env: Path) -> dict[str, str]:
    """Return what was noted about an environment; empty if nothing legible was."""
    try:
        record = json.loads((env / RECORD).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(env: Path, record: dict[str, str]) -> None:
    """Note the state of an environment, atomically."""
    partial = env / f'{RECORD}.partial'
    partial.write_text(json.dumps(record, indent=2) + '\n', encoding='utf-8')
    partial.replace(env / RECORD)


def reason_to_rebuild(env: Path, record: dict[str, str], python: str | None) -> str | None:
    """Say why an environment cannot be used or updated, None if it can.

    Args:
        env: Folder of the environment.
        record: What was noted about it.
        python: Identity of the one interpreter that is wanted, None for any.

    Returns:
        The reason, for the user to read.
    """
    found = identify(env / 'bin' / 'python')
    if not os.path.lexists(env):
        return 'there is none yet'
    if found is None:
        return 'its interpreter does not run'
    if record.get('place') != str(env):
        return 'it was made by other means or in another place'
    if record.get('state') != 'ready':
        return 'its installation was interrupted'
    if record.get('python') != found or (python is not None and python != found):
        return f'it belongs to another Python ({found.split()[0]})'
    return None


def remove(env: Path) -> None:
    """Delete an environment, or whatever else has its name."""
    if env.is_symlink() or env.is_file():
        env.unlink()
    elif env.exists():
        shutil.rmtree(env)


def call(*command: str | Path) -> None:
    """Run a command with its output shown; its failure ends this program."""
    environ = {key: value for key, value in os.environ.items() if key not in UNWANTED}
    environ['PIP_DISABLE_PIP_VERSION_CHECK'] = '1'
    words = [str(word) for word in command]
    code = subprocess.run(words, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL).returncode
    if code:
        raise SystemExit(f'make_env: failed with status {code}: {" ".join(words)}')


def pinned(name: str) -> str:
    """Return the lock file's line of a package that has only one."""
    for line in LOCK.read_text(encoding='utf-8').splitlines():
        if line.startswith(f'{name}=='):
            return line
    raise SystemExit(f'make_env: {LOCK} does not pin {name}')


def say(text: str) -> None:
    """Show progress at once, also where the output is a file."""
    print(f'[environment] {text}', flush=True)


def install(env: Path) -> None:
    """Bring an existing environment to the state that the lock file describes."""
    python = env / 'bin' / 'python'
    pip: tuple[str | Path, ...] = (python, '-m', 'pip', 'install', '--no-deps')
    say('1/3 pip')
    call(*pip, '--quiet', pinned('pip'))
    say('2/3 pinned packages; the first time about 3 GB are downloaded, which can take minutes')
    # Wheels only: a package that would have to be compiled is an error, not a surprise.
    call(*pip, '--only-binary=:all:', '-r', LOCK)
    say('3/3 mmsamdistill, editable')
    call(*pip, '--quiet', '--no-build-isolation', '-e', ROOT)
    call(python, '-c', f'import {IMPORTS}')


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep `make demo` and `make test`, started together, from installing into each other."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say('another process is preparing it: waiting')
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def prepare(env: Path, this_python: bool = False) -> None:
    """Make, update or heal an environment.

    Args:
        env: Its folder.
        this_python: Whether it must belong to the interpreter that runs this program; otherwise a
            ready environment of another interpreter is kept.
    """
    python = identify(base_python())
    record = read_record(env)
    reason = reason_to_rebuild(env, record, python if this_python else None)
    if reason is None and record.get('sources') == fingerprint():
        return
    started = time.monotonic()
    if reason is not None:
        say(f'making {env} with Python {str(python).split()[0]}: {reason}')
        remove(env)
        call(base_python(), '-m', 'venv', env)
    else:
        say(f'updating {env}: the lock file or the set-up of the package has changed')
    state = {'place': str(env), 'python': str(identify(env / 'bin' / 'python'))}
    write_record(env, {**state, 'state': 'installing'})
    install(env)
    write_record(env, {**state, 'state': 'ready', 'sources': fingerprint()})
    say(f'ready after {time.monotonic() - started:.0f} s')


def main() -> None:
    """Read the command line and prepare the environment."""
    parser = argparse.ArgumentParser(description='Prepare the virtual environment of the Makefile.')
    parser.add_argument('folder', type=Path, help='where the environment is, or shall be')
    parser.add_argument(
        '--this-python',
        action='store_true',
        help='the environment must belong to the interpreter that runs this program',
    )
    args = parser.parse_args()
    # Not resolved: the folder may be a link into nowhere, which is one of the things to heal.
    env = Path(os.path.abspath(args.folder))
    with one_at_a_time(ROOT):
        prepare(env, args.this_python)


if __name__ == '__main__':
    main()
