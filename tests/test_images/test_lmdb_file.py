"""A damaged database is an error and no signal."""

import lmdb
import numpy as np
import pytest

from mmsamdistill.images.lmdb_file import check_lmdb


def write(path, sizes):
    """Values of given sizes, written and deleted in several goes, so that pages are freed."""
    generator = np.random.default_rng(0)
    with lmdb.open(str(path), map_size=2**27) as environment:
        for part in range(3):
            with environment.begin(write=True) as transaction:
                for index in range(part, len(sizes), 3):
                    transaction.put(f'{index:05}'.encode(), generator.bytes(sizes[index]))
        with environment.begin(write=True) as transaction:
            for index in range(0, len(sizes), 7):
                transaction.delete(f'{index:05}'.encode())
    return path


@pytest.mark.parametrize('count', [0, 1, 30, 2000])
@pytest.mark.parametrize('size', [10, 3000, 30_000])
def test_whole_databases(tmp_path, count, size):
    check_lmdb(write(tmp_path / 'a', [size] * min(count, 10**6 // size)))


def test_cut_anywhere(tmp_path):
    path = write(tmp_path / 'a', [20, 9000] * 20) / 'data.mdb'
    data = path.read_bytes()
    for length in range(0, len(data) - 1, 4096 + 11):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r'a/data\.mdb is (no LMDB|damaged)'):
            check_lmdb(tmp_path / 'a')
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r'data\.mdb'):
        check_lmdb(tmp_path / 'a')


@pytest.mark.parametrize(
    ('place', 'value', 'message'),
    [
        (16, 0, 'does not begin'),  # the signature of the first description
        (16 + 24, 12, 'pages of'),  # the size of pages
        (4096 + 136, 2**40, 'cut off'),  # the last page, in the newer description
        (4096 + 40 + 48 + 40, 10**6, 'no page'),  # the root of the tree
        (4096 + 40 + 48 + 6, 40, 'depth'),
    ],
)
def test_what_is_damaged_is_named(tmp_path, place, value, message):
    path = write(tmp_path / 'a', [20, 9000] * 20) / 'data.mdb'
    data = bytearray(path.read_bytes())
    width = 2 if message == 'depth' else 4 if value < 2**32 and place != 4096 + 136 else 8
    if place > 4096:  # in both, whichever is newer
        data[place - 4096 : place - 4096 + width] = value.to_bytes(width, 'little')
    data[place : place + width] = value.to_bytes(width, 'little')
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        check_lmdb(tmp_path / 'a')
