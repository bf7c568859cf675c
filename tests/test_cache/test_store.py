"""The cache on disk: single maps, manifest, masks, store."""

import contextlib
import json
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mmsamdistill.cache.check import CacheReport, verify
from mmsamdistill.cache.map_file import (
    MapFile,
    compact_for_storage,
    decode_rle,
    read_masks,
    read_record,
    write_map,
    write_masks,
)
from mmsamdistill.cache.store import (
    RegionStore,
    describe_differences,
    fingerprint,
    read_manifest,
    write_manifest,
)
from mmsamdistill.fast_sam.results import run_lengths
from mmsamdistill.files import hash_file

MAPS = arrays(
    np.int64, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 65535)
)


@settings(deadline=None, max_examples=50)
@given(labels=MAPS)
def test_map_and_record_survive(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp('maps') / 'a.png'
    record = {'image': 'ä.jpg', 'size': list(labels.shape)}
    write_map(path, labels, record)
    assert np.array_equal(MapFile(path).read(), labels)
    assert MapFile(path).read().dtype == np.int32
    assert read_record(path) == record


def test_other_programs_read_the_map(tmp_path):
    labels = np.arange(600).reshape(20, 30) * 100
    write_map(tmp_path / 'a.png', labels, {'regions': 5})
    assert np.array_equal(cv2.imread(str(tmp_path / 'a.png'), cv2.IMREAD_UNCHANGED), labels)
    image_module = pytest.importorskip('PIL.Image')
    with image_module.open(tmp_path / 'a.png') as image:
        assert json.loads(image.text['mmsamdistill']) == {'regions': 5}
        assert np.array_equal(np.asarray(image), labels)


def test_equal_maps_give_equal_files(tmp_path):
    for name in 'ab':
        write_map(tmp_path / f'{name}.png', np.eye(9, dtype=int), {'b': 1, 'a': 2})
    assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes()


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        (np.array([[65536]]), r'0\.\.65535'),
        (np.array([[-1]]), r'0\.\.65535'),
        (np.zeros((1, 2, 1), int), r'\(H, W\)'),
        (np.zeros((2, 2)), 'integers'),
        (np.zeros((0, 2), int), r'\(H, W\)'),
    ],
)
def test_what_is_no_map_is_refused(tmp_path, labels, message):
    with pytest.raises(ValueError, match=message):
        write_map(tmp_path / 'a.png', labels, {})
    assert not list(tmp_path.iterdir())


def test_compaction_makes_large_labels_fit():
    labels = np.array([[10**9, 0, 5], [5, 70000, 0]])
    assert compact_for_storage(labels).tolist() == [[3, 0, 1], [1, 2, 0]]
    assert labels[0, 0] == 10**9  # the argument is left alone


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_map_is_damaged(tmp_path, share):
    path = tmp_path / 'a.png'
    write_map(path, np.random.default_rng(0).integers(0, 99, (40, 40)), {})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    for read in (MapFile, read_record):
        with pytest.raises(ValueError, match=r'a\.png is damaged'):
            read(path)


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / 'a.png'
    write_map(path, np.arange(16).reshape(4, 4), {'regions': 15})
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        with pytest.raises(ValueError, match='damaged'):
            MapFile(path).read()


def test_a_photograph_is_no_map(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match='no label map'):
        MapFile(tmp_path / 'a.png').read()


def test_maps_by_other_means_have_no_record(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((4, 4), 7, np.uint8))
    store = RegionStore(tmp_path)
    assert store.read('a').tolist() == [[7] * 4] * 4
    assert store.record('a') is None
    assert store.manifest is None
    assert store.fingerprint() is None


def test_fingerprint_depends_on_every_value_and_on_nothing_else():
    source = {'type': 'A', 'generator': {'x': 1, 'y': None}}
    assert fingerprint(source) == fingerprint({'generator': {'y': None, 'x': 1}, 'type': 'A'})
    assert fingerprint(source) != fingerprint({'type': 'A', 'generator': {'x': 2, 'y': None}})
    assert fingerprint(source) != fingerprint({'type': 'A', 'generator': {'x': 1}})


def test_differences_name_the_parameters():
    found = describe_differences(
        {'a': {'b': 1}, 'c': 2, 'd': 3}, {'a': {'b': 9}, 'c': 2, 'e': None}
    )
    assert found == [
        'a.b: 1 in the cache, 9 now',
        'd: 3 in the cache, not there now',
        'e: not there in the cache, None now',
    ]


def test_manifest_survives_and_knows_its_format(tmp_path):
    assert read_manifest(tmp_path) is None
    write_manifest(tmp_path, {'type': 'A'}, 'data/gt', {'a': {'regions': 3}})
    manifest = RegionStore(tmp_path).manifest
    assert manifest['source'] == {'type': 'A'}
    assert manifest['images'] == 'data/gt'
    assert manifest['files'] == {'a': {'regions': 3}}
    assert RegionStore(tmp_path).fingerprint() == fingerprint({'type': 'A'})
    for text in ('{', '[]', '{"format": 99}'):
        (tmp_path / 'regions.json').write_text(text)
        with pytest.raises(ValueError, match=r'regions\.json'):
            read_manifest(tmp_path)


def test_keys_are_relative_stems_without_temporary_files(tmp_path):
    for name in ('b/0.1', 'a', 'b/c/2'):
        write_map(tmp_path / f'{name}.png', np.ones((1, 1), int), {})
    (tmp_path / '.a.png.x1y2').write_bytes(b'')
    (tmp_path / '.hidden.png').write_bytes(b'')
    assert RegionStore(tmp_path).keys() == ['a', 'b/0.1', 'b/c/2']


def test_missing_maps_and_caches_name_path_and_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none.*extract_regions'):
        RegionStore(tmp_path / 'none')
    with pytest.raises(FileNotFoundError, match=r'x/y\.png.*extract_regions'):
        RegionStore(tmp_path).read('x/y')


def test_check_compares_hashes_parameters_and_names(tmp_path):
    images, root = tmp_path / 'gt', tmp_path / 'regions'
    images.mkdir()
    for name in ('valid', 'changed', 'other', 'broken', 'missing'):
        (images / f'{name}.jpg').write_bytes(name.encode())
    source = {'type': 'A'}
    write_manifest(root, source, 'gt')
    for name in ('valid', 'changed', 'other', 'broken', 'left'):
        image = images / f'{name}.jpg'
        mark = fingerprint({'type': 'B'} if name == 'other' else source)
        known = hash_file(image) if image.exists() else ''
        record = {'fingerprint': mark, 'image_sha256': known, 'size': [2, 2], 'regions': 1}
        write_map(root / f'{name}.png', np.ones((2, 2), int), record)
    (images / 'changed.jpg').write_bytes(b'new')
    (root / 'broken.png').write_bytes((root / 'broken.png').read_bytes()[:-1])
    report = verify(images, root)
    assert report == CacheReport(
        missing=['missing'], stale=['changed', 'other'], damaged=['broken'], orphaned=['left']
    )
    assert not report.ok
    assert '2 stale: changed, other' in str(report)
    assert CacheReport(orphaned=['x']).ok
    for finding in ('differences', 'missing', 'stale', 'damaged', 'different'):
        assert not CacheReport(**{finding: ['x']}).ok, finding
    assert str(CacheReport()) == 'fits'


@settings(deadline=None, max_examples=50)
@given(mask=arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=7)))
def test_rle_is_cocos(mask):
    encoded = run_lengths(mask)
    assert np.array_equal(decode_rle(encoded), mask)
    assert json.loads(json.dumps(encoded)) == encoded
    coco = pytest.importorskip('pycocotools.mask')
    theirs = coco.frPyObjects(encoded, *mask.shape)
    assert np.array_equal(coco.decode(theirs).astype(bool), mask)


def test_rle_that_does_not_fill_the_mask_is_refused():
    with pytest.raises(ValueError, match='3 pixels'):
        decode_rle({'size': [2, 2], 'counts': [1, 2]})


def test_masks_keep_their_overlaps_and_scores(tmp_path):
    one, two = np.zeros((2, 3, 3), bool)
    one[:2], two[1:] = True, True
    records = [
        {'segmentation': one, 'predicted_iou': np.float32(0.5), 'bbox': np.array([0, 0, 3, 2])},
        {'segmentation': two, 'area': 6},
    ]
    write_masks(tmp_path / 'a.masks.json', records)
    first, second = read_masks(tmp_path / 'a.masks.json')
    assert np.array_equal(first['segmentation'], one)
    assert np.array_equal(second['segmentation'], two)
    assert (first['predicted_iou'], first['bbox'], second['area']) == (0.5, [0, 0, 3, 2], 6)


def test_label_maps_are_small(tmp_path):
    labels = np.kron(np.arange(1, 301).reshape(15, 20), np.ones((24, 24), int))
    write_map(tmp_path / 'a.png', labels, {})
    size = (tmp_path / 'a.png').stat().st_size
    assert size < 1.5 * len(zlib.compress(labels.astype('>u2').tobytes(), 6))


NESTED = '[' * 100_000 + ']' * 100_000


@pytest.mark.parametrize(
    'text',
    [
        b'',
        b'\xff\xfe',
        b'{}',
        b'[1]',
        b'[{}]',
        b'[{"segmentation": 3}]',
        b'[{"segmentation": {"size": [2, 2]}}]',
        b'[{"segmentation": {"size": [2], "counts": [2]}}]',
        b'[{"segmentation": {"size": [2, 2], "counts": [2, -2, 4]}}]',
        b'[{"segmentation": {"size": [2, 2], "counts": [4.0]}}]',
        b'[{"segmentation": {"size": [2, 2], "counts": [5]}}]',
        b'[{"segmentation": {"size": [60000, 60000], "counts": [3600000000]}}]',
        b'[{"segmentation": {"size": [1e9, 1], "counts": [1000000000]}}]',
        b'[{"segmentation": {"size": [1, 1], "counts": [1]}},'
        b' {"segmentation": {"size": [1, 2], "counts": [2]}}]',
        NESTED.encode(),
        b'[{"name": "\\ud800", "segmentation": {"size": [1, 1], "counts": [1]}}]',
    ],
    ids=range(16),
)
def test_damaged_masks_are_named(tmp_path, text):
    (tmp_path / 'a.masks.json').write_bytes(text)
    with pytest.raises(ValueError, match=r'a\.masks\.json is damaged'):
        read_masks(tmp_path / 'a.masks.json')


@pytest.mark.parametrize(
    'change',
    [
        {'source': []},
        {'source': None},
        {'images': 3},
        {'images': 'a\0b'},
        {'files': []},
        {'files': {'a': 1}},
        {'format': '1'},
    ],
    ids=str,
)
def test_damaged_manifests_are_named(tmp_path, change):
    write_manifest(tmp_path, {'type': 'A'}, 'gt')
    manifest = json.loads((tmp_path / 'regions.json').read_text())
    (tmp_path / 'regions.json').write_text(json.dumps({**manifest, **change}))
    with pytest.raises(ValueError, match=r'regions\.json'):
        read_manifest(tmp_path)
    (tmp_path / 'regions.json').write_text(f'{{"format": 1, "source": {NESTED}}}')
    with pytest.raises(ValueError, match=r'regions\.json is damaged'):
        read_manifest(tmp_path)


def with_record(tmp_path, text):
    write_map(tmp_path / 'a.png', np.eye(3, dtype=int), {})
    png = (tmp_path / 'a.png').read_bytes()
    begin = png.index(b'tEXt') - 4
    length = int.from_bytes(png[begin : begin + 4], 'big')
    body = b'tEXtmmsamdistill\0' + text
    chunk = (len(body) - 4).to_bytes(4, 'big') + body + zlib.crc32(body).to_bytes(4, 'big')
    (tmp_path / 'a.png').write_bytes(png[:begin] + chunk + png[begin + 12 + length :])
    return tmp_path / 'a.png'


@pytest.mark.parametrize('text', [b'[]', b'{', b'"a"', NESTED.encode(), b'{"a": "\\ud800"}'])
def test_damaged_records_are_named(tmp_path, text):
    path = with_record(tmp_path, text)
    with pytest.raises(ValueError, match=r'a\.png is damaged'):
        read_record(path)
    assert MapFile(path).read().tolist() == np.eye(3).tolist()


def test_a_small_file_cannot_claim_gigabytes(tmp_path):
    def chunk(kind, content):
        check = zlib.crc32(kind + content).to_bytes(4, 'big')
        return len(content).to_bytes(4, 'big') + kind + content + check

    def png(height, width, data):
        header = width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + bytes([8, 0, 0, 0, 0])
        chunks = [chunk(b'IHDR', header), chunk(b'IDAT', zlib.compress(data)), chunk(b'IEND', b'')]
        return b'\x89PNG\r\n\x1a\n' + b''.join(chunks)

    (tmp_path / 'a.png').write_bytes(png(65_000, 65_000, b''))
    with pytest.raises(ValueError, match=r'a\.png claims to be 65000 x 65000'):
        MapFile(tmp_path / 'a.png').read()
    # It inflates to more than it claims: no more than that is asked for.
    (tmp_path / 'a.png').write_bytes(png(2, 2, bytes(10**7)))
    tracemalloc.start()
    try:
        with contextlib.suppress(ValueError):
            MapFile(tmp_path / 'a.png').read()
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_no_more_memory_than_a_files_masks_may_take_is_asked_for(tmp_path, monkeypatch):
    encoded = run_lengths(np.zeros((4, 5), bool))
    path = tmp_path / 'a.masks.json'
    path.write_text(json.dumps([{'segmentation': encoded}] * 3))
    monkeypatch.setattr('mmsamdistill.cache.map_file._MAX_BYTES', 60)
    assert len(read_masks(path)) == 3
    monkeypatch.setattr('mmsamdistill.cache.map_file._MAX_BYTES', 59)
    with pytest.raises(ValueError, match=r'a\.masks\.json is damaged'):
        read_masks(path)
