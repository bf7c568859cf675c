"""Whether an LMDB is whole, before the library opens it.

The library maps the file into memory and follows the page numbers and offsets in it: in a file
that is cut off or damaged, that ends the process by a signal, without a word. So they are followed
here first, within bounds. Only the structure is read, not what is stored.

Source: the format of LMDB 0.9, ``mdb.c`` of openldap.
"""

import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_PAGE = struct.Struct('<QHHHH')  # number, padding, flags, lower, upper; or the number of pages
# Padding, flags, depth, branches, leaves, overflows, entries, root.
_DB = struct.Struct('<IHHQQQQQ')
_META = struct.Struct('<IIQQ')
_NONE = 0xFFFFFFFFFFFFFFFF
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE, _FIXED, _SUB = 0x01, 0x02, 0x04, 0x08, 0x20, 0x40
_BIG_DATA, _SUB_DATA, _DUP_DATA = 0x01, 0x02, 0x04


def check_lmdb(path: str | Path) -> None:
    """Refuse a database that is no LMDB, is cut off, or whose pages are damaged."""
    file = Path(path, 'data.mdb')
    with file.open('rb') as opened:
        size = opened.seek(0, 2)
        if size < 2 * 4096:
            raise ValueError(f'{file} is no LMDB or cut off: it has {size} bytes')
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                _Walk(data, size).check()
            except (ValueError, struct.error, IndexError, OverflowError) as error:
                raise ValueError(f'{file} is damaged or no LMDB: {error}') from error


@dataclass
class _Walk:
    """Follows every page from the newest of the two descriptions on."""

    data: mmap.mmap
    size: int
    page_size: int = 0
    last: int = 0
    seen: set[int] = field(default_factory=set)

    def check(self) -> None:
        # The library takes the size of pages from the first description, the rest from the newer.
        metas = [self._meta(0)]
        self.page_size = metas[0][0]
        if self.page_size not in (1 << power for power in range(8, 17)):
            raise ValueError(f'pages of {self.page_size} bytes')
        metas.append(self._meta(self.page_size))
        if metas[1][0] != self.page_size:
            raise ValueError('its two descriptions differ in the size of pages')
        _, _, self.last, roots = max(metas, key=lambda meta: meta[1])
        if (self.last + 1) * self.page_size > self.size:
            raise ValueError(
                f'cut off: {self.last + 1} pages of {self.page_size} bytes in {self.size} bytes'
            )
        for depth, root, flags in roots:
            if flags & _DUP_DATA:
                raise ValueError('it holds several values under a key, which no reader here writes')
            if root != _NONE:
                self._tree(root, depth)

    def _meta(self, start: int) -> tuple[int, int, int, list[tuple[int, int, int]]]:
        flags = _PAGE.unpack_from(self.data, start)[2]
        magic, version, address, _ = _META.unpack_from(self.data, start + 16)
        if not flags & _META_PAGE or magic != _MAGIC or version != _VERSION or address:
            raise ValueError('it does not begin as an LMDB does')
        databases = [_DB.unpack_from(self.data, start + 40 + 48 * n) for n in range(2)]
        last, transaction = struct.unpack_from('<QQ', self.data, start + 136)
        roots = [(each[2], each[7], each[1]) for each in databases]
        return databases[0][0], transaction, last, roots

    def _tree(self, root: int, depth: int) -> None:
        if not 1 <= depth <= 32:
            raise ValueError(f'a tree of depth {depth}')
        waiting = [(root, 1)]
        while waiting:
            number, level = waiting.pop()
            start = self._claim(number)
            found, _, flags, lower, upper = _PAGE.unpack_from(self.data, start)
            kind = flags & (_BRANCH | _LEAF | _OVERFLOW | _META_PAGE | _FIXED | _SUB)
            if found != number or kind != (_LEAF if level == depth else _BRANCH):
                raise ValueError(f'page {number} is not what is expected there')
            if not 16 <= lower <= upper <= self.page_size or lower % 2:
                raise ValueError(f'page {number} has wrong bounds')
            count = (lower - 16) // 2
            if not count or (kind == _BRANCH and count < 2):
                raise ValueError(f'page {number} has too few entries')
            for offset in struct.unpack_from(f'<{count}H', self.data, start + 16):
                if not upper <= offset <= self.page_size - 8 or offset % 2:
                    raise ValueError(f'page {number} points outside of itself')
                child = self._node(start, offset, kind, number)
                if child is not None:
                    waiting.append((child, level + 1))

    def _node(self, start: int, offset: int, kind: int, number: int) -> int | None:
        """Check an entry; of a branch, the page that it leads to."""
        low, high, flags, key = struct.unpack_from('<HHHH', self.data, start + offset)
        end = offset + 8 + key
        if end > self.page_size:
            raise ValueError(f'page {number} has a key that leaves it')
        if kind == _BRANCH:
            return low | high << 16 | flags << 32
        if flags & (_SUB_DATA | _DUP_DATA):
            raise ValueError('it holds databases within the database, which no reader here writes')
        length = low | high << 16
        is_big = flags & _BIG_DATA  # then the entry holds the number of the value's first page
        if end + (8 if is_big else length) > self.page_size:
            raise ValueError(f'page {number} has a value that leaves it')
        if not is_big:
            return None
        (first,) = struct.unpack_from('<Q', self.data, start + end)
        begin = self._claim(first)
        found, _, kind = _PAGE.unpack_from(self.data, begin)[:3]
        (pages,) = struct.unpack_from('<I', self.data, begin + 12)
        if found != first or kind & 0x4F != _OVERFLOW or pages < 1:
            raise ValueError(f'page {first} is not what is expected there')
        if first + pages - 1 > self.last or 16 + length > pages * self.page_size:
            raise ValueError(f'the value at page {first} leaves the file')
        return None

    def _claim(self, number: int) -> int:
        """Where a page begins; each may be led to once."""
        if not 2 <= number <= self.last:
            raise ValueError(f'there is no page {number}')
        if number in self.seen:
            raise ValueError(f'page {number} is used twice')
        self.seen.add(number)
        return number * self.page_size
