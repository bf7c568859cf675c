"""What was run, so that it can be run again."""

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmsamdistill.files import parse_json, write_atomically
from mmsamdistill.images.finding import walk_folder
from mmsamdistill.version import package_version

_PACKAGES = (
    'mmsamdistill', 'mmagic', 'mmengine', 'onedl-mmengine', 'mmcv', 'mmcv-lite', 'onedl-mmcv',
    'torch', 'torchvision', 'numpy', 'opencv-python', 'opencv-python-headless', 'segment-anything',
)  # fmt: skip
_FILES = ('regions', 'ann_file')


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Write ``run.json`` into the work directory when training starts.

    It holds the versions, the state of the git repositories of this package and of the config, the
    whole config, the seed, the command line, the devices, and of each folder of training data and
    regions a fingerprint: of names and sizes, for a region cache of its manifest. A run that is
    resumed keeps what was written before, without the config, under ``earlier``.

    ``tools/train.py`` registers it in every run.
    """

    def before_train(self, runner: Runner) -> None:
        """Write the file."""
        if is_main_process():
            path = Path(runner.work_dir, 'run.json')
            record = {**describe(runner), 'earlier': _earlier(path)}
            write_atomically(path, (json.dumps(record, indent=2, default=str) + '\n').encode())


def describe(runner: Runner) -> dict[str, Any]:
    """The record of a run as it starts."""
    config = runner.cfg.filename
    return {
        'started': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
        'command': sys.argv,
        'folder': str(Path.cwd()),
        'seed': runner.seed,
        'iteration': runner.iter,
        'processes': get_world_size(),
        'versions': {
            'python': platform.python_version(),
            'platform': platform.platform(),
            **{name: found for name in _PACKAGES if (found := package_version(name))},
            'cuda': torch.version.cuda or 'none',
        },
        'devices': [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        'git': {
            'package': git_state(Path(__file__).parent),
            'config': git_state(Path(config).resolve().parent) if config else None,
        },
        'config_file': config,
        'data': {path: fingerprint(Path(path)) for path in sorted(_data_of(runner.cfg))},
        'config': runner.cfg.to_dict(),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the repository around a folder and what differs from it; None without one."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ['git', '-C', str(folder), *arguments], capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git('rev-parse', 'HEAD')
    if commit is None:
        return None
    # A folder that a repository ignores, such as site-packages within it, is not its content.
    if git('check-ignore', '-q', '.') is not None:
        return None
    return {'commit': commit, 'changed': (git('status', '--porcelain') or '').splitlines()[:50]}


def _data_of(config: Mapping[str, Any]) -> set[str]:
    """Folders and files that the training dataset names, wherever in its config."""
    found: set[str] = set()
    for part in _dicts(config.get('train_dataloader')):
        root, prefixes = part.get('data_root') or '', part.get('data_prefix')
        found.update(str(part[key]) for key in _FILES if isinstance(part.get(key), str))
        if isinstance(prefixes, Mapping):
            found.update(os.path.join(root, str(prefix)) for prefix in prefixes.values())
        elif root:
            found.add(str(root))
    return {path for path in found if path and '://' not in path}


def _dicts(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _dicts(each)


def fingerprint(path: Path) -> dict[str, Any]:
    """Number of files, bytes, and a SHA-256 over the sorted names and sizes.

    Contents are not read, which would take as long as an epoch; a region cache's manifest is.
    """
    digest, count, total = hashlib.sha256(), 0, 0
    for name, size in sorted(_files_below(path)):
        digest.update(f'{name}\0{size}\n'.encode(errors='surrogateescape'))
        count, total = count + 1, total + size
    found: dict[str, Any] = {'files': count, 'bytes': total, 'sha256': digest.hexdigest()}
    manifest = path / 'regions.json'
    if manifest.is_file():
        found['manifest_sha256'] = hashlib.sha256(manifest.read_bytes()).hexdigest()
    return found


def _files_below(path: Path) -> Iterator[tuple[str, int]]:
    if path.is_file():
        yield path.name, path.stat().st_size
    if path.is_dir():
        for file, _ in walk_folder(path):  # linked folders too, as the datasets read them
            if file.is_file():  # neither a broken link nor a folder
                yield file.relative_to(path).as_posix(), file.stat().st_size


def _earlier(path: Path) -> list[dict[str, Any]]:
    try:
        last = parse_json(path.read_bytes(), path)
        earlier = last.pop('earlier')
        last.pop('config')
        return [*earlier, last]
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return []  # the first one, or a file that is not ours
