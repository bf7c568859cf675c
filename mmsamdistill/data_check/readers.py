"""Headers of images in folders and LMDBs, and of region maps, each file read once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmsamdistill.data_check.report import by
from mmsamdistill.datasets.transforms.regions import LoadRegionMap
from mmsamdistill.images import decode_image
from mmsamdistill.images.header import ImageHeader, read_header
from mmsamdistill.images.lmdb_file import check_lmdb


class FileReader:
    """Reads image files, and decodes them if asked for everything."""

    def __init__(self, full: bool = False) -> None:
        self.full = full
        self.known: dict[str, ImageHeader | OSError | ValueError] = {}

    def header(self, path: str) -> ImageHeader:
        """Read an image's header; FileNotFoundError if there is none, ValueError if damaged."""
        if path not in self.known:
            try:
                header = read_header(path)
                if self.full:
                    _decode(Path(path).read_bytes(), header)
                self.known[path] = header
            except FileNotFoundError as error:
                self.known[path] = error
            except (OSError, ValueError) as error:
                self.known[path] = ValueError(str(error))
        found = self.known[path]
        if isinstance(found, Exception):
            raise found
        return found


class LmdbReader:
    """Reads images out of an LMDB as MMagic and BasicSR do: by the file's name without suffix."""

    def __init__(self, path: str, full: bool = False) -> None:
        import lmdb

        self.full = full
        # In a damaged file the library ends the process by a signal.
        check_lmdb(path)
        try:
            self.environment = lmdb.open(path, readonly=True, lock=False, readahead=False)
        except (lmdb.Error, OSError) as error:
            raise ValueError(f'{path} is no LMDB: {error}') from error

    def __enter__(self) -> 'LmdbReader':
        return self

    def __exit__(self, *error: object) -> None:
        self.environment.close()

    def header(self, path: str) -> ImageHeader:
        """As that of :class:`FileReader`."""
        with self.environment.begin() as transaction:
            data = transaction.get(Path(path).stem.encode())
        if data is None:
            raise FileNotFoundError(path)
        header = read_header(data)
        if self.full:
            _decode(data, header)
        return header

    def others(self, used: set[str]) -> list[str]:
        """Images beside those that are used, which are given without suffix."""
        with self.environment.begin() as transaction:
            if self.environment.stat()['entries'] <= len(used):
                return []
            keys = transaction.cursor().iternext(values=False)
            names = [key.decode(errors='replace') for key in keys]
            return [name for name in names if name not in used]


class RegionReader:
    """Looks whether samples have region maps that fit."""

    def __init__(self, root: str, full: bool = False) -> None:
        self.full = full
        self.finder = LoadRegionMap(root)
        self.images: dict[str, str] = {}

    def problem(self, info: Mapping[str, Any], size: tuple[int, int] | None) -> str:
        """Say what is wrong with the map of a sample, whose image has a size if it is known."""
        store = self.finder.store
        try:
            key = self.finder.find_key(dict(info))
        except FileNotFoundError:
            return f'{info.get("key")} has none'
        path = store.path(key)
        image = str(info.get('gt_path') or info.get('img_path'))
        other = self.images.setdefault(key, image)
        if other != image:
            return f'{path} would be that of {other} and of {image}: rename one of them'
        try:
            header = read_header(path)
            if not header.grey or header.alpha:
                return f'{path} is no label map: it has more than one channel'
            if size is not None and header.stored != size:
                return f'{path} is {by(header.stored)}, its image {by(size)}'
            # What training does not read, the hook that checks the cache does.
            store.record(key)
            if self.full:
                store.read(key)
        except (OSError, ValueError) as error:
            return f'{path} is damaged ({error})'
        return ''


def _decode(data: bytes, header: ImageHeader) -> None:
    if decode_image(data, 'it').shape[:2] != header.size:
        raise ValueError('it decodes to another size than its header says')
