import os
import stat

import pytest

from mmsamdistill.files import write_atomically


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


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / 'b.bin', b'')
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / 'b.bin').stat().st_mode) == 0o640
