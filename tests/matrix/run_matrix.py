"""Follow README.md in fresh environments: its section Install, then its quick start, word by word.

    python tests/matrix/run_matrix.py [NAME ...] [--python all] [--folder FOLDER] [--keep]

An environment takes 2 to 6 GB and some minutes; they are made one after the other and removed.
Printed is a row of the table in docs/versions.md for each; on the error stream the seconds of each
step, and what went wrong. The exit status is 1 if any environment failed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tests'))

from readme import SMALL, installation, quick_start  # noqa: E402

CUT = ('--cfg-options', *SMALL)
PYTHONS = ('3.12', '3.13', '3.11', '3.10')


class Environment(NamedTuple):
    """Words of README's section Install that are exchanged, and what differs beside it."""

    changes: dict[str, str]
    python: str | None = None  # None: the first of PYTHONS that is there
    then: tuple[str, ...] = ()  # installed afterwards
    steps: tuple[str, ...] = ()  # beside the quick start: 'mim', 'transformers'
    healthy: bool = True  # what `mmsamdistill doctor` is to say


OLDEST = {'pip install torch torchvision': "pip install torch==2.1.2 torchvision==0.16.2 'numpy<2'"}
ENVIRONMENTS = {
    'README': Environment({'edges]': 'edges,mim]'}, steps=('mim',)),
    'oldest': Environment({**OLDEST, "edges]'": "edges]' 'numpy<2'"}, '3.10'),
    'forks': Environment({'mmlab': 'onedl'}),
    'forks, oldest': Environment(
        {
            'torch torchvision': 'torch==2.3.1 torchvision==0.18.1',
            'mmlab,edges]': 'onedl,edges,mim]',
        },
        '3.10',
        steps=('mim',),
    ),
    'transformers': Environment(
        {"mmlab,edges]'": "onedl,edges,sam,transformers,tensorboard]' diffusers"},
        steps=('transformers',),
    ),
    'originals, then forks': Environment({}, then=("pip install '.[onedl]'",), healthy=False),
    'forks, then originals': Environment(
        {'mmlab': 'onedl'}, then=("pip install '.[mmlab]'",), healthy=False
    ),
}
SHOWN = (
    *('torch', 'numpy', 'mmengine', 'onedl-mmengine', 'mmcv-lite', 'onedl-mmcv', 'opencv-python'),
    *('transformers', 'diffusers', 'openmim', 'setuptools'),
)
TINY_SAM2 = """
import sys
sys.path[:0] = sys.argv[1:]
import mmsamdistill, tiny_transformers
from pathlib import Path
tiny_transformers.save('sam2', Path('sam2'))
"""


class Trial:
    """One environment in a folder: commands run in it as they are typed once it is activated."""

    def __init__(self, folder: Path, uv: str | None = None) -> None:
        self.folder = folder / 'job'
        self.uv = uv
        # Bytecode is written, or every command would compile what uv installed.
        kept = {k: v for k, v in os.environ.items() if not k.startswith('PYTHON')}
        path = f'{folder / "env/bin"}{os.pathsep}{os.environ["PATH"]}'
        self.environ = {**kept, 'PATH': path, 'VIRTUAL_ENV': str(folder / 'env')}

    def call(self, *command: str, here: Path | None = None, status: int = 0) -> str:
        """Return what a command prints; what a failed one printed becomes the error."""
        start = time.monotonic()
        if self.uv and command[:2] == ('pip', 'install'):
            command = (self.uv, *command)
        done = subprocess.run(
            command, cwd=here or self.folder, env=self.environ, capture_output=True, text=True
        )
        shown = ' '.join(command).split(' --cfg-options')[0].partition('\n')[0]
        print(f'{time.monotonic() - start:8.1f} s  {shown}', file=sys.stderr, flush=True)
        if done.returncode != status:
            tail = (done.stdout + done.stderr).strip().splitlines()[-15:]
            said = f'{shown} ended with status {done.returncode}, not {status}'
            raise RuntimeError('\n    '.join([said, *tail]))
        return done.stdout

    def install(self, python: str, environment: Environment) -> str:
        """Follow README's section, standing in the repository; return the versions."""
        self.folder.mkdir()
        self.call(python, '-m', 'venv', '../env')
        for words in installation(environment.changes):
            self.call(*words, here=ROOT)
        for line in environment.then:
            self.call(*shlex.split(line), here=ROOT)
        code = 'from importlib.metadata import *; import platform\n'
        code += "print('Python', platform.python_version())\n"
        code += "for d in distributions(): print(d.metadata['Name'].lower(), d.version)"
        printed = self.call('python', '-c', code).splitlines()
        versions = dict(line.split(' ', 1) for line in printed)
        return ', '.join(f'{key} {versions[key]}' for key in ('Python', *SHOWN) if key in versions)

    def do_job(self, environment: Environment) -> None:
        """README's quick start word by word, a resumed training, and the further steps."""
        config, commands = quick_start()
        (self.folder / 'config.py').write_text(config)
        self.call('python', str(ROOT / 'tests/pairs.py'), 'data/pairs')
        if 'transformers' in environment.steps:
            self.call('python', '-c', TINY_SAM2, str(ROOT / 'tests'))
            commands[0][-1:] = ['transformers', '--checkpoint', 'sam2']
        for words in commands:
            ill = 'doctor' in words and not environment.healthy
            self.call(*words, status=int(ill))
        self.call('mmsamdistill', 'train', 'config.py', '--resume', *CUT, 'train_cfg.max_iters=4')
        if 'mim' in environment.steps:
            folder = ('--work-dir', 'mim')
            self.call('mim', 'train', 'mmsamdistill', 'config.py', '--gpus', '0', *folder, *CUT)
            weights = ('--checkpoint', 'mim/iter_2.pth')
            self.call('mim', 'test', 'mmsamdistill', 'config.py', *weights, *folder, *CUT)


def find_python(version: str) -> str | None:
    """Path of an interpreter: of the PATH, or one of pyenv's, whose shims need not work."""
    pyenv = Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv'), 'versions')
    for path in (f'python{version}', *sorted(map(str, pyenv.glob(f'{version}.*/bin/python')))):
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            subprocess.run([path, '-c', 'import ensurepip'], check=True, capture_output=True)
            return path
    return None


def try_environment(name: str, python: str, folder: Path, uv: str | None = None) -> dict[str, str]:
    """Make one environment and do the job in it."""
    start = time.monotonic()
    row = {'environment': name, 'versions': '', 'result': '', 'date': str(datetime.date.today())}
    print(f'{name}, {python}', file=sys.stderr)
    trial = Trial(folder, uv)
    try:
        row['versions'] = trial.install(python, ENVIRONMENTS[name])
        installed = time.monotonic()
        trial.do_job(ENVIRONMENTS[name])
        seconds = (installed - start, time.monotonic() - installed)
        row['result'] = 'works: {:.0f} s to install, {:.0f} s for the job'.format(*seconds)
    except (RuntimeError, OSError) as error:
        print(f'{name} failed: {error}', file=sys.stderr)
        row['result'] = f'FAILED: {str(error).splitlines()[-1].strip()}'
    return row


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'{"; ".join(ENVIRONMENTS)}')
    parser.add_argument('--python', help='for README: the path of one, or all that are found')
    parser.add_argument('--uv', metavar='PATH', help='install by uv, which is quicker, not by pip')
    parser.add_argument('--folder', type=Path, help='where to make them; default: a temporary one')
    parser.add_argument('--keep', action='store_true', help='do not remove them')
    args = parser.parse_args()
    strangers = set(args.names) - set(ENVIRONMENTS)
    if strangers:
        parser.error(f'no environment {", ".join(strangers)}; there are {"; ".join(ENVIRONMENTS)}')
    return args


def main() -> int:
    """Go through the environments."""
    args = parse_args()
    failed = False
    for name in args.names or ENVIRONMENTS:
        wanted = (ENVIRONMENTS[name].python,) if ENVIRONMENTS[name].python else PYTHONS
        pythons = [path for version in wanted if (path := find_python(version))]
        if not pythons:
            raise SystemExit(f'{name}: there is no Python {" or ".join(wanted)}')
        if name == 'README' and args.python != 'all':
            pythons = [args.python or pythons[0]]
        for python in pythons if name == 'README' else pythons[:1]:
            folder = Path(tempfile.mkdtemp(prefix='matrix_', dir=args.folder))
            row = try_environment(name, python, folder, args.uv)
            failed |= 'FAILED' in row['result']
            print('|', ' | '.join(row.values()), '|', flush=True)
            if not args.keep:
                shutil.rmtree(folder)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
