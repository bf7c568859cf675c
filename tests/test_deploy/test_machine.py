"""What stands beside every measured time."""

import platform

import pytest
import torch

from mmsamdistill.deploy import tiling
from mmsamdistill.deploy.cost import describe_machine, processor_name
from mmsamdistill.version import __version__


def test_times_come_with_what_they_depend_on():
    text = describe_machine('cpu', 'numpy', 'a-package-that-is-not-there')
    assert f'cpu {processor_name()}' in text
    for fact in (
        f'{torch.get_num_threads()} threads',
        f'Python {platform.python_version()}',
        f'mmsamdistill {__version__}',
        f'torch {torch.__version__.partition("+")[0]}',
        'numpy ',
        'no a-package-that-is-not-there',
    ):
        assert fact in text
    assert '\n' not in text


def test_a_processor_has_a_name_whatever_the_system_tells(monkeypatch):
    assert processor_name()
    monkeypatch.setattr('pathlib.Path.is_file', lambda path: False)
    monkeypatch.setattr('platform.processor', lambda: '')
    assert processor_name(torch.device('cpu')) == 'of unknown name'


def test_a_gpu_is_asked_for_its_own_name(monkeypatch):
    monkeypatch.setattr('torch.cuda.get_device_name', lambda device: f'name of {device}')
    assert processor_name('cuda:1') == 'name of cuda:1'
    assert describe_machine('cuda').count('cuda name of cuda') == 1


@pytest.mark.parametrize(
    ('limit', 'free'),
    [('600000', 500_000), ('90000', 0), ('max', 1_024_000), ('9000000', 1_024_000)],
)
def test_free_memory_is_the_machines_or_the_containers_whichever_is_less(
    tmp_path, monkeypatch, limit, free
):
    contents = {
        'proc/meminfo': 'MemTotal: 9000 kB\nMemAvailable: 1000 kB\n',
        'sys/fs/cgroup/memory.max': limit,
        'sys/fs/cgroup/memory.current': '100000',
    }
    for name, text in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(tiling, 'Path', lambda path: tmp_path / path.lstrip('/'))
    assert tiling._free_memory(torch.device('cpu')) == free
