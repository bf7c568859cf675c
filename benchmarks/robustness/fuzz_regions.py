"""Give damaged files to every reader of images, region maps, masks, results and databases.

Each input is a sound file with a few random changes: bits, cut ends, lost and doubled pieces, and,
since checksums would stop these at the door, changed contents of PNG chunks with right checksums
and changed values of JSON. Each reader must read it, or refuse it with a ValueError or
FileNotFoundError that names the file. Anything else is an undocumented outcome; so are more than
--memory of memory and, for databases, a process that is ended by a signal. Seeded, so that a run
can be told again; the exit code is 1 if there was an undocumented outcome.

    python benchmarks/robustness/fuzz_regions.py --count 6000
"""

import argparse
import collections
import dataclasses
import io
import json
import os
import random
import resource
import struct
import sys
import tempfile
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

import mmsamdistill  # noqa: F401  (makes MMagic importable)

# isort: split
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from mmagic.registry import TRANSFORMS

from lab.results import Result, read_results
from lab.summary import summarise
from mmsamdistill.cache import RegionStore, extract, verify
from mmsamdistill.cache.map_file import read_masks, write_masks
from mmsamdistill.cache.store import fitting_command
from mmsamdistill.compat.resuming import _named_in
from mmsamdistill.data_check import check_data
from mmsamdistill.deploy.formats import tested_numbers
from mmsamdistill.engine.hooks.run_record import _earlier
from mmsamdistill.images import decode_image, find_images
from mmsamdistill.sources import SuperpixelRegions

DOCUMENTED = (ValueError, FileNotFoundError)
VALUES = [None, True, -1, 0, 2**31, 2**63, 1e308, '', 'a', '\0', '\ud800', [], {}, [[]], {'a': {}}]
SIZE = (24, 32)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--count', type=int, default=1000, help='inputs of all kinds together')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--kinds', nargs='+', choices=list(KINDS), default=list(KINDS))
    parser.add_argument('--memory', type=float, default=3.0, help='GiB that reading may take')
    parser.add_argument('--keep', type=Path, help='folder for inputs with undocumented outcomes')
    return parser.parse_args()


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change a file as bad disks, broken copies and other programs do."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 3, 10])):
        place, length = rng.randrange(len(data) + 1), rng.choice([1, 4, 40, 400])
        piece = {
            'bit': bytes(byte ^ 1 << rng.randrange(8) for byte in data[place : place + 1]),
            'zeros': bytes(length),
            'noise': rng.randbytes(length),
            'ones': b'\xff' * length,
            'other': bytes(data[rng.randrange(len(data) + 1) :][:length]),
        }
        how = rng.choice([*piece, 'cut', 'drop', 'insert'])
        if how == 'cut':
            del data[place:]
        elif how == 'drop':
            del data[place : place + length]
        elif how == 'insert':
            data[place:place] = rng.randbytes(length)
        else:
            data[place : place + len(piece[how])] = piece[how]
    return bytes(data)


def change_png(data: bytes, rng: random.Random) -> bytes:
    """Change the content of a chunk and make its checksum right."""
    chunks, position = [], 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from('>I', data, position)
        chunks.append(
            [data[position + 4 : position + 8], data[position + 8 : position + 8 + length]]
        )
        position += 12 + length
    chosen = rng.choice(chunks)
    if chosen[0] == b'IHDR' and rng.random() < 0.5:
        sides = [rng.choice([0, 1, 7, 65_000, 2**31 - 1, 2**32 - 1]) for _ in range(2)]
        chosen[1] = struct.pack('>II', *sides) + chosen[1][8:]
    elif chosen[0] == b'IDAT' and rng.random() < 0.5:
        inflated = zlib.decompress(chosen[1])
        chosen[1] = zlib.compress(change_bytes(inflated * rng.choice([1, 1, 100]), rng))
    elif chosen[0] == b'tEXt':
        key, _, text = chosen[1].partition(b'\0')
        chosen[1] = key + b'\0' + change_json(text, rng)
    else:
        chosen[1] = change_bytes(chosen[1], rng)
    if rng.random() < 0.2:
        chunks.insert(rng.randrange(len(chunks)), rng.choice(chunks))
    parts = [
        struct.pack('>I', len(content))
        + kind
        + content
        + struct.pack('>I', zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return data[:8] + b''.join(parts)


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Change one value, or one key, somewhere; or nest what is there."""
    if rng.random() < 0.05:
        depth = rng.choice([30, 1000, 100_000])
        return b'[' * depth + data + b']' * depth
    value = json.loads(data)
    places = list(_places(value))
    if not places or rng.random() < 0.03:
        return json.dumps(rng.choice(VALUES)).encode()
    holder, key = rng.choice(places)
    if isinstance(holder, dict) and rng.random() < 0.3:
        holder.pop(key)
    else:
        holder[key] = rng.choice([*VALUES, *(h[k] for h, k in places[:20])])
    try:
        return json.dumps(value).encode()
    except ValueError:  # now it contains itself
        return b'{"a": 1e999}'


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in list(keys):
        yield value, key
        yield from _places(value[key])


class World:
    """A folder of sound files, and what reads each kind of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        generator = np.random.default_rng(0)
        coarse = generator.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        self.pixels = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        (root / 'gt').mkdir()
        cv2.imwrite(str(root / 'gt/a.png'), self.pixels)
        self.source = SuperpixelRegions(min_size=5)
        extract(root / 'gt', root / 'regions', self.source)
        masks = generator.random((3, *SIZE)) > 0.5
        write_masks(root / 'a.masks.json', [{'segmentation': each, 'area': 1} for each in masks])
        self.load_map = TRANSFORMS.build({'type': 'LoadRegionMap', 'root': str(root / 'regions')})
        self.databases = [self._database(root / f'lmdb{n}', n) for n in (3, 60)]

    def _database(self, path: Path, count: int) -> Path:
        import lmdb

        png = cv2.imencode('.png', self.pixels)[1].tobytes()
        with lmdb.open(str(path), map_size=2**24) as environment:
            for index in range(count):
                with environment.begin(write=True) as transaction:
                    transaction.put(f'{index:03}'.encode(), png * (1 + 4 * (index % 3)))
        names = ''.join(f'{index:03}.png (24,32,3) 1\n' for index in range(count))
        (path / 'meta_info.txt').write_text(names)
        return path

    def image(self, rng: random.Random) -> Iterator[Callable[[], Any]]:
        """Images in all formats: decoder, loader of trainings, data check."""
        kind, suffix = rng.choice(
            [
                ('JPEG', 'jpg'),
                ('PNG', 'png'),
                ('BMP', 'bmp'),
                ('PPM', 'ppm'),
                ('TIFF', 'tif'),
                ('WEBP', 'webp'),
            ]
        )
        stream, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = rng.randrange(1, 9)
        options = {'JPEG': {'progressive': rng.random() < 0.5, 'exif': exif}, 'PNG': {'exif': exif}}
        Image.fromarray(self.pixels).save(stream, kind, **options.get(kind, {}))
        change = change_png if kind == 'PNG' and rng.random() < 0.5 else change_bytes
        data = change(stream.getvalue(), rng)
        path = self._write(f'images/x.{suffix}', data)
        color_type = rng.choice(['color', 'unchanged', 'grayscale'])
        loader = TRANSFORMS.build(
            {'type': 'mmagic.LoadImageFromFile', 'key': 'gt', 'color_type': color_type}
        )
        yield lambda: decode_image(data, path)
        yield lambda: loader({'gt_path': str(path)})
        yield lambda: self._check_data({'img': 'images'}, rng.random() < 0.5)
        yield lambda: extract(path.parent, self.root / 'made', self.source, overwrite=True)

    def map(self, rng: random.Random) -> Iterator[Callable[[], Any]]:
        """Region maps: store, loader, check, extraction, data check."""
        data = (self.root / 'regions/a.png').read_bytes()
        sound = data
        change = rng.choice([change_png, change_png, change_bytes])
        store = RegionStore(self.root / 'regions')
        path = self._write('regions/a.png', change(data, rng))
        results = {'key': 'a', 'gt': self.pixels, 'gt_path': str(self.root / 'gt/a.png')}
        try:
            yield lambda: store.read('a')
            yield lambda: store.record('a')
            yield lambda: self.load_map(dict(results))
            yield lambda: verify(self.root / 'gt', self.root / 'regions', self.source, 1)
            yield lambda: self._check_data({'img': 'gt'}, True, str(self.root / 'regions'))
            yield lambda: extract(self.root / 'gt', self.root / 'regions', self.source)
        finally:
            path.write_bytes(sound)

    def manifest(self, rng: random.Random) -> Iterator[Callable[[], Any]]:
        """Manifests: store, check, command, extraction."""
        path = self.root / 'regions/regions.json'
        sound = path.read_bytes()
        change = rng.choice([change_json, change_json, change_bytes])
        store = RegionStore(self.root / 'regions')
        self._write('regions/regions.json', change(sound, rng))
        try:
            yield lambda: store.fingerprint()
            yield lambda: fitting_command(store, {'a': [self.root / 'gt/a.png']}, None, True)
            yield lambda: verify(self.root / 'gt', self.root / 'regions', self.source)
            yield lambda: extract(self.root / 'gt', self.root / 'regions', self.source)
        finally:
            path.write_bytes(sound)

    def masks(self, rng: random.Random) -> Iterator[Callable[[], Any]]:
        """Mask files."""
        change = rng.choice([change_json, change_json, change_bytes])
        path = self._write('x.masks.json', change((self.root / 'a.masks.json').read_bytes(), rng))
        yield lambda: read_masks(path)

    def results(self, rng: random.Random) -> Iterator[Callable[[], Any]]:
        """What runs and tests wrote of themselves: report, card, record of a run."""
        scores = {'test': {'PSNR': 27.5, 'SSIM': 0.7}}
        sound: dict[str, Any] = rng.choice(
            [
                dataclasses.asdict(
                    Result(
                        table='t',
                        row='plain',
                        seed=0,
                        seconds_before=1.0,
                        student=scores,
                        teacher=scores,
                        curve=[{'iteration': 1, 'PSNR': 20.0}],
                        config='model = dict()',
                        environment={'torch': '2'},
                    )
                ),
                {'protocols': {}, 'results': [{'PSNR': 1.0}], 'checkpoint': 'net.pth'},
                {'config': 'x', 'seed': 0, 'earlier': [{'seed': 1}]},
            ]
        )
        change = rng.choice([change_json, change_json, change_bytes])
        path = self._write('x.json', change(json.dumps(sound).encode(), rng))
        yield lambda: summarise(read_results([path]), {'plain': 'Plain'}, 'test')
        yield lambda: tested_numbers(path, 'net.pth')
        yield lambda: _earlier(path)
        yield lambda: _named_in(path)

    def lmdb(self, rng: random.Random) -> Iterator[Callable[[], Any]]:
        """Databases: data check and loader, each in a process of its own."""
        database = rng.choice(self.databases)
        name = database.name + '_damaged'
        self._write(f'{name}/meta_info.txt', (database / 'meta_info.txt').read_bytes())
        path = self._write(f'{name}/data.mdb', self._changed_pages(database, rng))
        args = {'backend': 'lmdb', 'db_path': str(path.parent)}
        loader = {'type': 'mmagic.LoadImageFromFile', 'key': 'gt', 'backend_args': args}
        yield lambda: in_a_process(lambda: self._check_database(path.parent))
        yield lambda: in_a_process(
            lambda: [TRANSFORMS.build(loader)({'gt_path': f'x/{n:03}.png'}) for n in range(3)]
        )

    def _changed_pages(self, database: Path, rng: random.Random) -> bytes:
        data = (database / 'data.mdb').read_bytes()
        if rng.random() < 0.3:
            return change_bytes(data, rng)
        # Where pages say of themselves and of others: their first bytes.
        data = bytearray(data)
        for _ in range(rng.choice([1, 2, 5])):
            page = rng.randrange(len(data) // 4096)
            place = page * 4096 + rng.randrange(160)
            data[place] = rng.randrange(256)
        return bytes(data)

    def _check_database(self, path: Path) -> None:
        args = {'backend': 'lmdb', 'db_path': str(path)}
        load = {'type': 'LoadImageFromFile', 'key': 'gt', 'backend_args': args}
        self._check_data({'gt': path.name}, True, ann_file=str(path / 'meta_info.txt'), load=load)

    def _check_data(
        self,
        prefix: dict[str, str],
        full: bool,
        regions: str | None = None,
        ann_file: str = '',
        load: dict[str, Any] | None = None,
    ) -> None:
        dataset: dict[str, Any] = {
            'type': 'mmagic.BasicImageDataset',
            'metainfo': {'dataset_type': 'fuzz', 'task_name': 'fuzz'},
            'data_root': str(self.root),
            'data_prefix': prefix,
            'ann_file': ann_file,
            'pipeline': [load or {'type': 'LoadImageFromFile', 'key': 'img'}],
        }
        if regions is not None:
            dataset = {'type': 'RegionDataset', 'dataset': dataset, 'regions': regions}
        for report in check_data({'train_dataloader': {'dataset': dataset}}, full=full, workers=1):
            str(report).encode()

    def _write(self, name: str, data: bytes) -> Path:
        path = self.root / name
        if path.parent.name == 'images':
            for other in path.parent.glob('*'):
                other.unlink()
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        self.written = path
        return path


KINDS = {'image': 3, 'map': 3, 'manifest': 2, 'masks': 1, 'results': 1, 'lmdb': 1}
"""How many inputs there are of each kind, relative to the others."""


def in_a_process(read: Callable[[], Any]) -> None:
    """Read in a process of its own, which a signal may end; raises what was raised there."""
    out, into = os.pipe()
    child = os.fork()
    if not child:
        try:
            read()
            os._exit(0)
        except DOCUMENTED as error:
            os.write(into, f'{type(error).__name__} {error}'.encode(errors='replace')[:4000])
        except BaseException:
            os.write(into, f'!{traceback.format_exc()}'.encode(errors='replace')[-4000:])
        os._exit(1)
    os.close(into)
    with os.fdopen(out, 'rb') as pipe:
        told = pipe.read().decode(errors='replace')
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise RuntimeError(f'ended by signal {os.WTERMSIG(status)}')
    if told.startswith('!'):
        raise RuntimeError(told)
    if told:
        raise ValueError(told)


def outcome_of(read: Callable[[], Any], names: list[str]) -> str:
    """'read', 'refused', or what is wrong with how it was refused: it names none of the names."""
    try:
        read()
    except DOCUMENTED as error:
        is_named = any(name in str(error) for name in names)
        return 'refused' if is_named else f'unnamed {type(error).__name__}: {error}'
    # Whatever it is, that is what is looked for.
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f'{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {error}'[
            :300
        ]
    return 'read'


def main() -> int:
    """Try all, count, and show each undocumented outcome once."""
    args = parse_args()
    warnings.simplefilter('ignore')
    rng = random.Random(args.seed)
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    wrong: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        find_images(world.root / 'gt')
        used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
        limit = used + int(args.memory * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        weights = [KINDS[kind] for kind in args.kinds]
        for number in range(args.count):
            kind = rng.choices(args.kinds, weights)[0]
            for read in getattr(world, kind)(rng):
                # A cache is named by its folder, an image in a database by its own name.
                names = [world.written.name, str(world.root / 'regions'), 'x/00', '_damaged']
                outcome = outcome_of(read, names)
                known = outcome if outcome in ('read', 'refused') else 'UNDOCUMENTED'
                counts[kind][known] += 1
                if known == 'UNDOCUMENTED' and outcome not in wrong:
                    wrong[outcome] = kind
                    print(f'{kind}, input {number}: {outcome}', file=sys.stderr)
                    if args.keep:
                        args.keep.mkdir(parents=True, exist_ok=True)
                        kept = args.keep / f'{number}_{world.written.name}'
                        kept.write_bytes(world.written.read_bytes())
            counts[kind]['inputs'] += 1
    print(
        '| kind | inputs | read | refused by name | undocumented |\n| --- | --- | --- | --- | --- |'
    )
    for kind, found in counts.items():
        numbers = (found[name] for name in ('inputs', 'read', 'refused', 'UNDOCUMENTED'))
        print(f'| {kind} | {" | ".join(map(str, numbers))} |')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
