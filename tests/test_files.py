import hashlib
import os
import signal
import stat
import subprocess
import sys

import pytest
import torch

from mmsamdistill import files
from mmsamdistill.files import atomic_file, hash_file, write_atomically


def test_writes_replaces_and_makes_folders(tmp_path):
    path = tmp_path / 'a' / 'b.bin'
    for data in (b'old', b'new'):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert [each.name for each in path.parent.iterdir()] == ['b.bin']


def test_a_failed_write_keeps_the_old_file_and_leaves_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / 'b.bin'
    write_atomically(path, b'old')

    def fail(*_):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='disk full'):
        write_atomically(path, b'new')
    assert path.read_bytes() == b'old'
    assert [each.name for each in tmp_path.iterdir()] == ['b.bin']


@pytest.mark.parametrize('size', [10, 1_000_000])
def test_a_full_disk_is_told_with_the_file(tmp_path, size):
    # torch says of a large one that a position was unexpected, and of neither which file it is.
    with (
        pytest.raises(OSError, match=r'No space left.*net\.pth'),
        atomic_file(tmp_path / 'net.pth'),
        open('/dev/full', 'wb') as full,
    ):
        torch.save({'a': torch.zeros(size)}, full)
    assert list(tmp_path.iterdir()) == []


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / 'b.bin', b'')
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / 'b.bin').stat().st_mode) == 0o640


def test_the_longest_name_can_be_written(tmp_path):
    name = 'x' * 251 + '.png'
    write_atomically(tmp_path / name, b'new')
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.slow
def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    # The module alone: importing the package takes seconds.
    script = (
        'import os, runpy, signal, sys; files = runpy.run_path(sys.argv[1]);'
        'os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL);'
        'files["write_atomically"](sys.argv[2], b"half")'
    )
    command = [sys.executable, '-c', script, files.__file__, str(tmp_path / 'a')]
    killed = subprocess.run(command, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    living = left.with_name(left.name.replace(left.name.split('-')[-2], str(os.getpid())))
    living.touch()
    (tmp_path / '.mine').touch()
    write_atomically(tmp_path / 'b', b'')
    assert {each.name for each in tmp_path.iterdir()} == {'.mine', living.name, 'b'}


def test_leftovers_of_other_machines_go_when_they_are_old(tmp_path):
    young, old = (tmp_path / f'.mmsamdistill-writing-other-9999999-{age}' for age in ('new', 'old'))
    for path in (young, old):
        path.touch()
    os.utime(old, (0, 0))
    write_atomically(tmp_path / 'a', b'')
    assert {each.name for each in tmp_path.iterdir()} == {young.name, 'a'}


def test_hash_is_that_of_the_whole_file(tmp_path):
    data = bytes(range(256)) * 9000
    (tmp_path / 'a').write_bytes(data)
    assert hash_file(tmp_path / 'a') == hashlib.sha256(data).hexdigest()
