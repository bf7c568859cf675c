"""Install the package into fresh environments, and do the main job's short form in each.

    python tests/matrix/run_matrix.py [NAME ...] [--folder FOLDER] [--keep]

Each environment takes 2 to 3 GB and some minutes; they are made one after the other and removed.
Printed is a row of the table in docs/versions.md for each, what went wrong on the error stream. The
exit status is 1 if any environment failed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Environment(NamedTuple):
    """A Python, what pip installs (one line a call), and further steps of the job."""

    python: str
    installs: tuple[str, ...]
    steps: tuple[str, ...] = ()


MMAGIC = '--no-deps mmagic==1.2.0'
ENVIRONMENTS = {
    'oldest': Environment(
        '3.10', ('torch==2.1.2 torchvision==0.16.2 numpy<2', '.[mmlab] numpy<2', MMAGIC)
    ),
    'newest': Environment('3.13', ('torch torchvision', '.[mmlab]', MMAGIC)),
    'forks': Environment('3.12', ('torch torchvision', '.[onedl]', MMAGIC)),
    'forks, oldest': Environment(
        '3.10', ('torch==2.1.2 torchvision==0.16.2 numpy<2', '.[onedl] numpy<2', MMAGIC)
    ),
    'transformers': Environment(
        '3.12',
        ('torch torchvision', '.[onedl,sam,transformers,tensorboard] diffusers', MMAGIC),
        ('transformers',),
    ),
    'mim': Environment('3.11', ('torch torchvision', '.[mmlab,mim]', MMAGIC), ('mim',)),
}
SHOWN = (
    *('torch', 'numpy', 'mmengine', 'onedl-mmengine', 'mmcv-lite', 'onedl-mmcv', 'opencv-python'),
    *('transformers', 'diffusers', 'openmim', 'setuptools'),
)
CONFIG = """
_base_ = ['mmsamdistill::_base_/datasets/pairs.py', 'mmsamdistill::_base_/default_runtime.py']
custom_imports = dict(imports=['mmsamdistill'], allow_failed_imports=False)
model = dict(
    type='SAMDistillRestorer',
    restorer=dict(
        type='BaseEditModel',
        generator=dict(
            type='NAFNet', img_channels=3, mid_channels=4,
            enc_blk_nums=[1], middle_blk_num=1, dec_blk_nums=[1]),
        pixel_loss=dict(type='PSNRLoss'),
        data_preprocessor=dict(type='DataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3)),
    regions=dict(type='CachedRegions'),
    analyzer=dict(type='VGGAnalyzer', weights='random', layers=('relu1_2',)))
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(
    _delete_=True, type='RegionDataset', regions='data/pairs/train/regions',
    dataset={{_base_.train_dataloader.dataset}}))
optim_wrapper = dict(
    constructor='CascadeOptimWrapperConstructor', optimizer=dict(type='AdamW', lr=1e-3))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)
custom_hooks = [*_base_.custom_hooks, dict(type='RegionCacheHook')]
"""
PAIRS = """
import cv2, numpy as np
from pathlib import Path
draw = np.random.default_rng(0)
for split in ('train', 'test'):
    for name in ('input', 'target'):
        folder = Path('data/pairs', split, name)
        folder.mkdir(parents=True)
        for number in range(2):
            image = cv2.resize(draw.integers(0, 256, (5, 5, 3), np.uint8), (144, 144))
            cv2.imwrite(str(folder / f'{number}.png'), image)
"""
TINY_SAM2 = """
import sys
sys.path[:0] = sys.argv[1:]
import mmsamdistill, tiny_transformers
from pathlib import Path
tiny_transformers.save('sam2', Path('sam2'))
"""
REGIONS = 'extract_regions data/pairs/train/target data/pairs/train/regions --source'
STEPS = (
    'doctor config.py',
    'train config.py',
    'test config.py work_dirs/config/iter_2.pth --out report',
    'export_restorer config.py work_dirs/config/iter_2.pth student.pth',
    'train config.py --resume --cfg-options train_cfg.max_iters=4',
)


def call(command: list[str], folder: Path) -> None:
    """Run a command; what it printed becomes the error if it fails."""
    environment = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'VIRTUAL_ENV')}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        tail = (done.stdout + done.stderr).strip().splitlines()[-15:]
        raise RuntimeError('\n    '.join([' '.join(command[-6:]), *tail]))


def find_python(version: str) -> str:
    """Path of an interpreter: of the PATH, or one of pyenv's, whose shims need not work."""
    pyenv = Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv'), 'versions')
    for path in (f'python{version}', *sorted(map(str, pyenv.glob(f'{version}.*/bin/python')))):
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            subprocess.run([path, '--version'], check=True, capture_output=True)
            return path
    raise OSError(f'there is no Python {version}')


def do_job(bin_folder: Path, folder: Path, steps: tuple[str, ...]) -> None:
    """Pairs, regions, doctor, two steps of training, test, export, resume: as a user calls them."""
    python, tool = str(bin_folder / 'python'), str(bin_folder / 'mmsamdistill')
    folder.mkdir()
    (folder / 'config.py').write_text(CONFIG)
    call([python, '-c', PAIRS], folder)
    source = ['superpixel']
    if 'transformers' in steps:
        call([python, '-c', TINY_SAM2, str(ROOT / 'tests')], folder)
        source = ['transformers', '--checkpoint', 'sam2']
    call([tool, *REGIONS.split(), *source], folder)
    for step in STEPS:
        call([tool, *step.split()], folder)
    if 'mim' in steps:
        options = ['--gpus', '0', '--work-dir', 'mim']
        call([str(bin_folder / 'mim'), 'train', 'mmsamdistill', 'config.py', *options], folder)


def run_environment(name: str, folder: Path) -> dict[str, str]:
    """Make one environment and do the job in it."""
    environment = ENVIRONMENTS[name]
    bin_folder = folder / 'env/bin'
    start = time.monotonic()
    row = {'environment': name, 'versions': '', 'result': '', 'date': str(datetime.date.today())}
    try:
        call([find_python(environment.python), '-m', 'venv', str(folder / 'env')], folder)
        for line in environment.installs:
            words = [f'{ROOT}{word[1:]}' if word[0] == '.' else word for word in line.split()]
            call([str(bin_folder / 'python'), '-m', 'pip', 'install', '-q', *words], folder)
        installed = time.monotonic()
        code = 'from importlib.metadata import *; import platform\n'
        code += "print('Python', platform.python_version())\n"
        code += "for d in distributions(): print(d.metadata['Name'].lower(), d.version)"
        printed = subprocess.check_output([str(bin_folder / 'python'), '-c', code], text=True)
        versions = dict(line.split(' ', 1) for line in printed.splitlines())
        shown = [f'{key} {versions[key]}' for key in ('Python', *SHOWN) if key in versions]
        row['versions'] = ', '.join(shown)
        do_job(bin_folder, folder / 'job', environment.steps)
        seconds = (installed - start, time.monotonic() - installed)
        row['result'] = 'works: {:.0f} s to install, {:.0f} s for the job'.format(*seconds)
    except (RuntimeError, OSError) as error:
        print(f'{name} failed: {error}', file=sys.stderr)
        row['result'] = f'FAILED: {str(error).splitlines()[-1].strip()}'
    return row


def main() -> int:
    """Go through the environments."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'{"; ".join(ENVIRONMENTS)}')
    parser.add_argument('--folder', type=Path, help='where to make them; default: a temporary one')
    parser.add_argument('--keep', action='store_true', help='do not remove them')
    args = parser.parse_args()
    strangers = set(args.names) - set(ENVIRONMENTS)
    if strangers:
        parser.error(f'no environment {", ".join(strangers)}; there are {"; ".join(ENVIRONMENTS)}')
    failed = False
    for name in args.names or ENVIRONMENTS:
        folder = Path(tempfile.mkdtemp(prefix='matrix_', dir=args.folder))
        row = run_environment(name, folder)
        failed |= 'FAILED' in row['result']
        print('|', ' | '.join(row.values()), '|', flush=True)
        if not args.keep:
            shutil.rmtree(folder)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
