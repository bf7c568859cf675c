"""Feed damaged and hostile files to every reader of weights, and count how each ends.

A reader may load what it is given, or refuse it by a documented error that names the file:
``CheckpointError``, ``ValueError`` or ``FileNotFoundError``. Everything else is a fault, as is a
message that advises unsafe loading, and a marker file that a pickle has made. Exit code 1 then.
"""

import argparse
import copy
import functools
import io
import os
import random
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import mmsamdistill  # noqa: F401
from mmsamdistill.compat.resuming import _require_state
from mmsamdistill.weights import load_plain, read_checkpoint, read_weights
from mmsamdistill.weights.library_weights import load_completely, read_torchvision_weights
from mmsamdistill.weights.sam_weights import load_weights

DOCUMENTED = (ValueError, FileNotFoundError)  # CheckpointError is a ValueError


class Hostile:
    """A pickle that makes the marker when it is executed."""

    marker = ''

    def __init__(self, call: Callable[..., Any] = os.mkdir) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        if self.call is eval:
            return eval, (f'__import__("os").mkdir({self.marker!r})',)
        return self.call, (self.marker,)


def network() -> nn.Sequential:
    """What the files belong to."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3))


def checkpoints() -> dict[str, dict[str, Any]]:
    """Whole files, one of each dialect."""
    weights = dict(network().state_dict())
    return {
        'bare': weights,
        'params': {'params': weights, 'params_ema': weights},
        'model': {'model': weights},
        'mmengine': {
            'meta': {'epoch': 0, 'iter': 4, 'cfg': 'a = 1', 'seed': 3},
            'state_dict': {f'generator.{key}': value for key, value in weights.items()},
            'message_hub': {'log_scalars': {}, 'runtime_info': {}, 'resumed_keys': {}},
            'optimizer': {'state': {0: {'step': torch.tensor(1.0)}}, 'param_groups': [{}]},
            'ema_state_dict': {f'module.{key}': value for key, value in weights.items()},
        },
        'ddp': {'state_dict': {f'module.{key}': value for key, value in weights.items()}},
    }


def resume(path: Path) -> None:
    """What is asked of a file before MMEngine resumes from it."""
    _require_state(read_checkpoint(path), str(path))


def torchvision(path: Path) -> None:
    """As VGG's, LPIPS' and the segmenters' weights are loaded."""
    weights = read_torchvision_weights(path, 'vgg16')
    try:
        load_completely(network(), weights, 'the network')
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def edges(path: Path) -> None:
    """As the edge network's are."""
    from mmsamdistill.weights.edge_weights import read_edge_weights

    read_edge_weights(path)


READERS: dict[str, Callable[[Path], Any]] = {
    'checkpoint': read_checkpoint,
    'weights': read_weights,
    'raw weights': lambda path: read_weights(path, ema=False),
    'restorer': lambda path: load_plain(network(), path),
    'sam': lambda path: load_weights(network(), path, 'vit_b'),
    'torchvision': torchvision,
    'resume': resume,
    'edges': edges,
}


def mutate_bytes(data: bytes, draw: random.Random) -> bytes:
    """Damage a file as disks, transfers and editors do."""
    kind = draw.randrange(6)
    place = draw.randrange(len(data))
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + bytes(draw.randrange(1, 400)) + data[place + draw.randrange(400) :]
    if kind == 2:
        return data[:place] + draw.randbytes(draw.randrange(1, 40)) + data[place:]
    if kind == 3:
        return draw.randbytes(draw.randrange(200))
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 3, 20])):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def odd_value(draw: random.Random) -> Any:
    """Something where weights, numbers or names are expected."""
    return draw.choice(
        [
            *(
                None,
                3,
                -1,
                2.5,
                'text',
                '',
                b'bytes',
                True,
                [],
                {},
                (),
                [1, [2]],
                {'a': {}},
                {1: 2},
            ),
            *(torch.zeros(0), torch.zeros(2, 3), torch.zeros(1, dtype=torch.complex64)),
            *(torch.zeros(4).to_sparse(), torch.full((4,), float('nan')), torch.tensor(1)),
            *(Hostile(), Hostile(eval), Hostile(os.system), network(), Path('x'), range(3)),
        ]
    )


def mutate_content(content: Any, draw: random.Random) -> Any:
    """Replace, drop, add or rename something anywhere in a checkpoint."""
    content = copy.copy(content)
    if not isinstance(content, dict) or not content:
        return odd_value(draw)
    key = draw.choice(list(content))
    kind = draw.randrange(6)
    if kind <= 1 and isinstance(content[key], dict):
        content[key] = mutate_content(content[key], draw)
    elif kind <= 2:
        content[key] = odd_value(draw)
    elif kind == 3:
        del content[key]
    elif kind == 4:
        content[draw.choice([7, None, ('a',), 'restorer.x', 'generator_ema.', '', key])] = (
            content.pop(key) if draw.random() < 0.5 else odd_value(draw)
        )
    elif isinstance(content[key], torch.Tensor) and content[key].layout == torch.strided:
        content[key] = content[key].reshape(-1)[:1]
    return content


def encoded(content: Any, old: bool = False) -> bytes:
    """A file as ``torch.save`` writes it, in its present or its old format."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


@functools.cache
def hdf5() -> bytes:
    """A file of the edge network's kind, with the first of its arrays."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, 'w') as file:
        file['block1/layers/conv2d/vars/0'] = np.ones((3, 3, 3, 64), np.float32)
        file['block1/layers/conv2d/vars/1'] = np.zeros(64, np.float32)
    return buffer.getvalue()


def candidates(draw: random.Random) -> tuple[str, bytes]:
    """Suffix and content of one more file."""
    from safetensors.torch import save

    content = draw.choice(list(checkpoints().values()))
    if draw.random() < 0.1:
        return '.h5', mutate_bytes(hdf5(), draw)
    if draw.random() < 0.2:
        return '.safetensors', mutate_bytes(save(dict(network().state_dict())), draw)
    for _ in range(draw.randrange(3)):
        content = mutate_content(content, draw)
    data = encoded(content, old=draw.random() < 0.2)
    return '.pth', mutate_bytes(data, draw) if draw.random() < 0.5 else data


def outcome(read: Callable[[Path], Any], path: Path) -> tuple[str, Exception | None]:
    """How a reader ends: its kind, and the error if it is a fault."""
    try:
        read(path)
    except DOCUMENTED as error:
        text = str(error)
        if path.name in text and 'weights_only' not in text:
            return type(error).__name__, None
        return 'UNDOCUMENTED: names no file, or advises unsafe loading', error
    except Exception as error:
        return f'UNDOCUMENTED: {type(error).__name__}', error
    return 'loaded', None


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--count', type=int, default=20_000, help='inputs (default: 20000)')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def main() -> int:
    """Try, count, print."""
    args = parse_args()
    warnings.simplefilter('ignore')
    draw = random.Random(args.seed)
    counts: dict[str, Counter] = {name: Counter() for name in READERS}
    shown: set[str] = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        marker = folder / 'executed'
        Hostile.marker = str(marker)
        for number in range(args.count):
            suffix, data = candidates(draw)
            reader = list(READERS)[number % len(READERS)]
            path = folder / f'input{suffix}'
            path.write_bytes(data)
            kind, error = outcome(READERS[reader], path)
            counts[reader][kind] += 1
            if error is not None and (reader + kind) not in shown:
                shown.add(reader + kind)
                print(f'{reader}, input {number}: ', end='')
                traceback.print_exception(error, limit=-3, file=sys.stdout)
            if marker.exists():
                print(f'{reader}, input {number}: code of the file was executed')
                return 1
    for reader, ends in counts.items():
        print(f'{reader}: ' + ', '.join(f'{kind} {n}' for kind, n in sorted(ends.items())))
    faults = sum(
        n for kinds in counts.values() for k, n in kinds.items() if k.isupper() or 'UND' in k
    )
    print(f'{args.count} inputs, {faults} faults, no code executed')
    return bool(faults)


if __name__ == '__main__':
    sys.exit(main())
