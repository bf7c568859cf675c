import os

import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from mmsamdistill.weights import CheckpointError, load_checkpoint_file, read_checkpoint

WEIGHTS = {'generator.conv.weight': torch.arange(4.0)}


class Payload:
    """Unpickling it would run a command."""

    def __reduce__(self):
        return os.system, ('touch pwned',)


def test_reads_both_formats(tmp_path):
    torch.save({'state_dict': WEIGHTS}, tmp_path / 'a.pth')
    save_file(WEIGHTS, tmp_path / 'a.safetensors')
    pth = read_checkpoint(tmp_path / 'a.pth')['state_dict']
    safe = read_checkpoint(str(tmp_path / 'a.safetensors'))
    for read in (pth, safe):
        assert torch.equal(read['generator.conv.weight'], WEIGHTS['generator.conv.weight'])
    for suffix in ('pth', 'safetensors'):
        read = load_checkpoint_file(tmp_path / f'a.{suffix}', 'meta')
        assert read.get('state_dict', read)['generator.conv.weight'].is_meta


def test_reads_what_mmengine_saves_beside_the_weights(tmp_path):
    hub = {'log_scalars': {'loss': HistoryBuffer([1.0, 2.0], [1, 1])}}
    torch.save({'state_dict': WEIGHTS, 'message_hub': hub, 'meta': {'iter': 3}}, tmp_path / 'a.pth')
    assert read_checkpoint(tmp_path / 'a.pth')['meta'] == {'iter': 3}


def test_reads_the_format_of_old_torch(tmp_path):
    torch.save(WEIGHTS, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    assert list(read_checkpoint(tmp_path / 'old.pth')) == list(WEIGHTS)


def test_refuses_to_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'state_dict': WEIGHTS, 'meta': Payload()}, 'evil.pth')
    with pytest.raises(CheckpointError, match=r'evil\.pth.*posix\.system'):
        read_checkpoint('evil.pth')
    assert not (tmp_path / 'pwned').exists()


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
@pytest.mark.parametrize('kept', [0, 1, 20, 100, 0.5, -1])
def test_names_a_truncated_file(tmp_path, suffix, kept):
    path = tmp_path / f'cut.{suffix}'
    if suffix == 'pth':
        torch.save({'state_dict': WEIGHTS}, path)
    else:
        save_file(WEIGHTS, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(CheckpointError, match=rf'cut\.{suffix}'):
        read_checkpoint(path)


def test_names_a_file_that_is_missing_or_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        read_checkpoint(tmp_path / 'nowhere.pth')
    with pytest.raises(FileNotFoundError, match='folder'):
        read_checkpoint(tmp_path)
    (tmp_path / 'text.pth').write_text('not a checkpoint')
    with pytest.raises(CheckpointError, match=r'text\.pth'):
        read_checkpoint(tmp_path / 'text.pth')
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(CheckpointError, match=r'list\.pth.*list'):
        read_checkpoint(tmp_path / 'list.pth')
