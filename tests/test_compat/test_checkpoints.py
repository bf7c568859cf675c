import os
import pickle
import shutil
import sys
import zipfile
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader, save_checkpoint

from mmsamdistill import compat
from mmsamdistill.weights import CheckpointError
from mmsamdistill.weights.reading import plain_numbers

compat.activate()
load = CheckpointLoader.load_checkpoint
modern_torch = pytest.mark.skipif(
    not hasattr(torch.serialization, 'add_safe_globals'), reason='torch before 2.4'
)


def history():
    buffer = HistoryBuffer()
    for step in range(5):
        buffer.update(0.1 * step, step + 1)
    return buffer


def content():
    return {
        'state_dict': OrderedDict(weight=torch.arange(3.0)),
        'message_hub': {'log_scalars': OrderedDict(loss=history()), 'best': np.float64(2.5)},
    }


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_mmengines_checkpoints_round_trip(tmp_path):
    path = tmp_path / 'a.pth'
    save_checkpoint(content(), str(path))
    read = load(str(path), map_location='cpu')
    buffer = read['message_hub']['log_scalars']['loss']
    for got, expected in zip(buffer.data, history().data, strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    assert buffer.max_length == history().max_length
    assert type(read['message_hub']['best']) is float
    assert torch.equal(read['state_dict']['weight'], torch.arange(3.0))
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith('data.pkl'))
        assert b'numpy' not in archive.read(pickled)


def test_an_empty_history_stays_empty():
    again = pickle.loads(pickle.dumps(HistoryBuffer(max_length=7)))
    assert again.max_length == 7
    assert all(len(part) == 0 and part.dtype == np.float64 for part in again.data)


@modern_torch
@pytest.mark.parametrize('name', [b'numpy.core.multiarray', b'numpy._core.multiarray'])
def test_checkpoints_of_mmengine_alone_are_read_under_either_numpy(tmp_path, monkeypatch, name):
    monkeypatch.delattr(HistoryBuffer, '__reduce__')
    original, path = tmp_path / 'a.pth', tmp_path / 'b.pth'
    torch.save(content(), original)
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(path, 'w') as target:
        for item in source.namelist():
            data = source.read(item)
            for written in (b'numpy._core.multiarray\n', b'numpy.core.multiarray\n'):
                data = data.replace(written, name + b'\n') if item.endswith('.pkl') else data
            target.writestr(item, data)
    read = load(str(path))
    assert read['message_hub']['best'] == 2.5
    np.testing.assert_array_equal(
        read['message_hub']['log_scalars']['loss'].data[0], history().data[0]
    )


def test_code_in_a_pickle_is_refused_and_named(tmp_path):
    path, marker = tmp_path / 'evil.pth', tmp_path / 'was_here'
    torch.save({'state_dict': {}, 'x': Malicious(marker)}, path)
    with pytest.raises(CheckpointError, match=r'evil\.pth holds a \w+\.mkdir'):
        load(str(path))
    assert not marker.exists()


def test_other_types_are_refused_and_named(tmp_path):
    path = tmp_path / 'odd.pth'
    torch.save({'x': pytest.ExitCode}, path)
    with pytest.raises(CheckpointError, match=r'odd\.pth holds a [\w.]*ExitCode'):
        load(str(path))
    if hasattr(torch.serialization, 'add_safe_globals'):
        torch.save({'x': np.array([object()], dtype=object)}, path)
        with pytest.raises(CheckpointError, match='Object'):
            load(str(path))


@modern_torch
def test_the_allowed_lookup_is_no_way_around_the_list(tmp_path):
    class Lookup:
        def __reduce__(self):
            return getattr, (HistoryBuffer, '__init__')

    path = tmp_path / 'sly.pth'
    torch.save({'x': Lookup()}, path)
    with pytest.raises(CheckpointError, match=r'sly\.pth was not read: refused'):
        load(str(path))


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / 'cut.pth'
    torch.save({'weight': torch.zeros(5000)}, path)
    whole = path.read_bytes()
    for damaged in (b'', b'no checkpoint', whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=rf'cut\.pth \({len(damaged)} bytes\)'):
            load(str(path))
    bad = tmp_path / 'cut.safetensors'
    bad.write_bytes(b'xx')
    with pytest.raises(CheckpointError, match=r'cut\.safetensors'):
        load(str(bad))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'gone\.pth'):
        load(str(tmp_path / 'gone.pth'))
    with pytest.raises(FileNotFoundError, match='a folder'):
        load(str(tmp_path))


def test_safetensors_are_read(tmp_path):
    path = tmp_path / 'a.safetensors'
    safetensors.torch.save_file({'weight': torch.ones(2)}, path)
    assert torch.equal(load(str(path), map_location='cpu')['weight'], torch.ones(2))


def test_every_scheme_reads_safely(tmp_path, monkeypatch):
    from mmengine.runner import checkpoint as host

    path = tmp_path / 'hub' / 'checkpoints' / 'evil.pth'
    path.parent.mkdir(parents=True)
    torch.save({'x': Malicious(tmp_path / 'was_here')}, path)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(host, 'get_torchvision_models', lambda: {'evil': 'https://x/evil.pth'})
    monkeypatch.setattr(host, 'get_mmcls_models', lambda: {'evil': 'https://x/evil.pth'})
    monkeypatch.setattr(host, 'get_external_models', lambda: {'evil': str(path)})
    model = SimpleNamespace(name='evil.pth', download=lambda target: shutil.copy(path, target))
    cloud = SimpleNamespace(modelcloud=SimpleNamespace(get=lambda name: model))
    monkeypatch.setitem(sys.modules, 'pavi', cloud)
    store = SimpleNamespace(get=lambda name: path.read_bytes())
    monkeypatch.setattr(host, 'get_file_backend', lambda *args, **kwargs: store)
    addresses = ('https://x/evil.pth', 'torchvision://evil', 'mmcls://evil', 'openmmlab://evil')
    for address in (*addresses, 'pavi://evil', 's3://x/evil.pth'):
        with pytest.raises(CheckpointError, match=r'evil(\.pth)? holds a'):
            load(address)
    with pytest.raises(CheckpointError):  # as onedl-mmengine's loaders call it
        host._safe_torch_load(str(path), map_location='cpu')
    assert not (tmp_path / 'was_here').exists()
    assert set(host.CheckpointLoader._schemes) == {
        '', 'http://', 'https://', 'pavi://', r'(\S+\:)?s3://', r'(\S+\:)?petrel://',
        'modelzoo://', 'torchvision://', 'open-mmlab://', 'openmmlab://', 'mmcls://',
    }  # fmt: skip


def test_plain_numbers_copies_only_what_changes():
    weights = OrderedDict(a=torch.ones(1))
    weights._metadata = {'': {'version': 1}}
    source = {'weights': weights, 'best': np.float32(0.5), 'pair': (np.int64(2), 'x')}
    result = plain_numbers(source)
    assert result['weights'] is weights
    assert type(source['best']) is np.float32
    assert repr(result['best']) == '0.5'
    assert repr(result['pair']) == "(2, 'x')"
