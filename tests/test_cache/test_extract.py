"""Extraction: resume, shards, killed writers, broken images, changed images and parameters."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmsamdistill.cache.check import TOLERANCE, verify
from mmsamdistill.cache.extract import extract, shard_of
from mmsamdistill.cache.map_file import read_masks, write_map
from mmsamdistill.cache.store import RegionStore
from mmsamdistill.sources import CachedRegions, RegionSource

ROOT = Path(__file__).parents[2]


class Bands(RegionSource):
    """Regions by brightness; counts how often it was asked."""

    def __init__(self, levels=4, offset=0):
        super().__init__()
        self.levels, self.offset, self.calls = levels, offset, 0

    def find(self, images, data_samples=None):
        self.calls += 1
        return (images.mean(1) * self.levels).long() * 1000 + self.offset

    def describe(self):
        return {'type': 'Bands', 'levels': self.levels, 'offset': self.offset}


class Masks(Bands):
    """Two overlapping masks, or none for a dark image."""

    def records(self, image):
        if image.mean() < 0.1:
            return []
        masks = torch.zeros(2, *image.shape[1:], dtype=torch.bool)
        masks[0], masks[1, :2] = True, True
        return [{'segmentation': each, 'predicted_iou': 0.5} for each in masks.numpy()]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'gt'
    (folder / 'a').mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(6):
        name = f'a/{index}.png' if index % 2 else f'{index}.jpg'
        picture = generator.integers(0, 256, (12 + index, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), picture)
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'regions'


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob('*.png'))}


def test_maps_are_the_sources(images, out):
    source = Bands()
    report = extract(images, out, source)
    assert not source.training
    assert sorted(report.written) == ['0', '2', '4', 'a/1', 'a/3', 'a/5']
    assert (report.skipped, report.failed) == (0, {})
    for key in report.written:
        path = next(images.glob(f'{key}.*'))
        rgb = cv2.imread(str(path))[..., ::-1].astype(np.float32) / 255
        bands = (rgb.mean(-1) * 4 + 1e-6).astype(int)
        # 0 is no region; the rest is numbered without gaps, in order.
        _, expected = np.unique(np.append(bands.ravel(), 0), return_inverse=True)
        assert np.mean(RegionStore(out).read(key).ravel() == expected[:-1]) > 0.99
    record = RegionStore(out).record('a/1')
    assert record['image'] == '1.png'
    assert record['size'] == [13, 16]
    assert record['regions'] == RegionStore(out).read('a/1').max() == 3


def test_manifest_says_all(images, out):
    extract(images, out, Bands(levels=3))
    manifest = RegionStore(out).manifest
    assert manifest['source'] == {'type': 'Bands', 'levels': 3, 'offset': 0}
    assert manifest['images'] == str(images)
    assert sorted(manifest['files']) == RegionStore(out).keys()
    assert set(manifest['files']['0']) == {'image', 'image_sha256', 'regions', 'size'}
    assert verify(images, out).ok


def test_source_may_be_a_configuration(images, out):
    extract(images, out, {'type': 'SuperpixelRegions', 'min_size': 5})
    assert RegionStore(out).manifest['source']['min_size'] == 5


def test_channels_reach_the_source_as_rgb(images, out):
    class Channels(Bands):
        """A region for each combination of strong channels: no two channels count alike."""

        def find(self, images, data_samples=None):
            red, green, blue = (images > 0.5).long().unbind(1)
            return 1 + 4 * red + 2 * green + blue

    for path in [*images.glob('*.jpg'), *images.glob('*/*.png')]:
        path.unlink()
    from PIL import Image

    colours = np.array([[[250, 5, 5], [250, 250, 5], [5, 5, 250]]], np.uint8).repeat(8, 0)
    Image.fromarray(colours).save(images / 'rgb.png')  # an encoder that has no order of its own
    extract(images, out, Channels())
    # Blue alone is 2, red alone 5, red and green 7; numbered without gaps.
    assert RegionStore(out).read('rgb')[0].tolist() == [2, 3, 1]
    assert verify(images, out, Channels(), 1).ok


def test_a_source_that_always_fails_leaves_nothing_in_the_way(images, out):
    class Broken(Bands):
        def find(self, images, data_samples=None):
            raise TypeError('scale must be a number')

    assert len(extract(images, out, Broken(levels='abc')).failed) == 6
    assert not (out / 'regions.json').exists()
    assert len(extract(images, out, Bands()).written) == 6


def test_a_manifest_without_maps_is_in_nobodys_way(images, out):
    extract(images, out, Bands(levels=3))
    for path in out.rglob('*.png'):
        path.unlink()
    assert len(extract(images, out, Bands()).written) == 6
    assert RegionStore(out).manifest['source'] == Bands().describe()


def test_what_is_no_image_is_remarked_on(images, out):
    (images / 'a/7.heic').touch()
    (images / 'loop').symlink_to(images)
    report = extract(images, out, Bands())
    assert len(report.written) == 6
    assert report.remark == 'skipped 2 files (1 .heic, 1 link to a folder around it)'


def test_a_shard_reads_no_maps_but_its_own(images, out, monkeypatch):
    extract(images, out, Bands(), shard=(0, 2))
    read = []
    record = RegionStore.record
    monkeypatch.setattr(
        RegionStore, 'record', lambda self, key: (read.append(key), record(self, key))[1]
    )
    written = extract(images, out, Bands(), shard=(1, 2)).written
    assert read == written
    assert sorted(RegionStore(out).manifest['files']) == RegionStore(out).keys()


def test_verification_accepts_what_the_hook_accepts(images, out):
    extract(images, out, Bands())
    store = RegionStore(out)
    labels, record = store.read('0'), store.record('0')
    few = labels.copy()
    few[0, 0] = 1 + few[0, 0] % record['regions']
    assert 1 / labels.size < TOLERANCE
    write_map(out / '0.png', few, record)
    assert verify(images, out, Bands(), 6).ok
    assert verify(images, out, Bands(), 6, tolerance=0.0).different == ['0']


def test_another_source_is_named_in_verification(images, out):
    extract(images, out, Bands())
    report = verify(images, out, Bands(levels=9))
    assert report.differences == ['levels: 4 in the cache, 9 now']
    assert not report.ok


def test_second_run_does_nothing(images, out):
    extract(images, out, Bands())
    before, source = contents(out), Bands()
    report = extract(images, out, source)
    assert (report.written, report.skipped, source.calls) == ([], 6, 0)
    assert contents(out) == before


def test_overwrite_computes_everything_again(images, out):
    extract(images, out, Bands())
    source = Bands(levels=7)
    report = extract(images, out, source, overwrite=True)
    assert (len(report.written), source.calls) == (6, 6)
    assert RegionStore(out).manifest['source']['levels'] == 7
    assert verify(images, out).ok
    assert len(extract(images, out, source, overwrite=True).written) == 6


def test_changed_image_is_computed_again(images, out):
    extract(images, out, Bands())
    cv2.imwrite(str(images / '2.jpg'), np.zeros((5, 5, 3), np.uint8))
    report = verify(images, out, Bands(), 6)  # it is said once what is wrong with it
    assert (report.stale, report.different) == (['2'], [])
    report = extract(images, out, Bands())
    assert (report.written, report.skipped) == (['2'], 5)
    assert RegionStore(out).read('2').shape == (5, 5)
    assert RegionStore(out).manifest['files']['2']['size'] == [5, 5]


def test_damaged_and_removed_maps_are_computed_again(images, out):
    extract(images, out, Bands())
    before = contents(out)
    (out / '0.png').write_bytes((out / '0.png').read_bytes()[:-9])
    (out / 'a' / '3.png').unlink()
    assert sorted(extract(images, out, Bands()).written) == ['0', 'a/3']
    assert contents(out) == before


def test_other_parameters_are_refused_by_name(images, out):
    extract(images, out, Bands(levels=4))
    before = contents(out)
    with pytest.raises(ValueError, match=r'levels: 4 in the cache, 5 now.*--overwrite'):
        extract(images, out, Bands(levels=5))
    assert contents(out) == before


def test_other_images_are_refused(images, out):
    extract(images, out, Bands())
    (images.parent / 'img').symlink_to(images.parent / 'elsewhere')
    images.rename(images.parent / 'elsewhere')
    for path in (images.parent / 'elsewhere').rglob('*.*g'):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    with pytest.raises(ValueError, match=r'images: .*gt in the cache, .*elsewhere now'):
        extract(images.parent / 'img', out, Bands())


def test_the_same_images_under_another_name_are_known_by_their_hashes(images, out):
    extract(images, out, Bands())
    copied = shutil.copytree(images, images.parent / 'elsewhere')
    cv2.imwrite(str(copied / '0.jpg'), np.zeros((5, 5, 3), np.uint8))
    (out / 'a/1.png').write_bytes(b'')
    report = extract(copied, out, Bands())
    assert (report.skipped, sorted(report.written)) == (4, ['0', 'a/1'])


def test_another_folder_of_the_same_name_is_refused(images, out, tmp_path):
    # train/gt and test/gt often hold files of the same names.
    extract(images, out, Bands())
    before = contents(out)
    other = tmp_path / 'test' / 'gt'
    other.mkdir(parents=True)
    cv2.imwrite(str(other / '0.png'), np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(ValueError, match=r'images: .*gt in the cache, .*test/gt now'):
        extract(other, out, Bands())
    assert contents(out) == before
    # A folder that is not to be seen any more may have moved.
    shutil.move(images, tmp_path / 'moved' / 'gt')
    assert extract(tmp_path / 'moved' / 'gt', out, Bands()).skipped == 6


class Unready(Bands):
    """A source that finds out too late that it cannot work."""

    def prepare(self, device):
        raise ValueError('weights of another model')


@pytest.mark.parametrize('overwrite', [False, True])
def test_source_that_cannot_work_fails_once_and_leaves_the_folder_as_it_was(images, out, overwrite):
    with pytest.raises(ValueError, match='weights of another model'):
        extract(images, out, Unready(levels=2), overwrite=overwrite)
    # What it would have written does not stand in the way of the right one.
    extract(images, out, Bands())
    before, manifest = contents(out), RegionStore(out).manifest
    assert extract(images, out, Unready()).skipped == 6
    with pytest.raises(ValueError, match='weights of another model'):
        extract(images, out, Unready(levels=2), overwrite=True)
    assert (contents(out), RegionStore(out).manifest) == (before, manifest)


def test_maps_of_unknown_origin_are_not_overwritten(images, out):
    out.mkdir()
    cv2.imwrite(str(out / '0.png'), np.ones((4, 4), np.uint8))
    with pytest.raises(ValueError, match='unknown origin'):
        extract(images, out, Bands())
    assert RegionStore(out).read('0').shape == (4, 4)


@pytest.mark.parametrize('place', ['gt', 'gt/regions', '.'])
def test_maps_and_images_do_not_mix(images, place):
    with pytest.raises(ValueError, match='contain each other'):
        extract(images, images.parent / place, Bands())


@pytest.mark.parametrize('damage', ['text', 'empty', 'cut.jpg', 'cut.png'])
def test_broken_image_is_named_and_does_not_stop_the_rest(images, out, damage):
    name = {'cut.png': 'a/1.png'}.get(damage, '2.jpg')
    data = (images / name).read_bytes()
    broken = {'text': b'no image', 'empty': b''}.get(damage, data[: len(data) // 2])
    (images / name).write_bytes(broken)
    report = extract(images, out, Bands())
    assert list(report.failed) == [str(images / name)]
    assert len(report.written) == 5
    assert verify(images, out).missing == [name[:-4]]


def test_too_many_regions_are_a_failure_of_that_image(images, out):
    class Pixels(Bands):
        def find(self, images, data_samples=None):
            return torch.arange(images[0, 0].numel()).view_as(images[:, 0]) + 1

    cv2.imwrite(str(images / 'big.png'), np.zeros((256, 257, 3), np.uint8))
    report = extract(images, out, Pixels())
    assert '65535' in report.failed[str(images / 'big.png')]
    assert len(report.written) == 6


def test_shards_are_disjoint_and_complete(images, out, tmp_path):
    reports = [extract(images, out, Bands(), shard=(index, 4)) for index in range(4)]
    written = [key for report in reports for key in report.written]
    assert sorted(written) == RegionStore(out).keys()
    assert len(set(written)) == len(written) == 6
    extract(images, tmp_path / 'whole', Bands())
    assert contents(out) == contents(tmp_path / 'whole')
    assert sorted(RegionStore(out).manifest['files']) == sorted(written)


@pytest.mark.parametrize('shard', [(2, 2), (-1, 2), (0, 0)])
def test_impossible_shard_is_refused(shard):
    with pytest.raises(ValueError, match='counts from 0'):
        shard_of(['a'], *shard)


def test_masks_beside_the_map(images, out):
    cv2.imwrite(str(images / '0.jpg'), np.zeros((4, 4, 3), np.uint8))
    extract(images, out, Masks(), masks=True)
    first, second = read_masks(out / '2.masks.json')
    assert first['segmentation'].all()
    assert second['segmentation'].sum() == 32
    assert first['predicted_iou'] == 0.5
    assert RegionStore(out).read('2')[:3, 0].tolist() == [2, 2, 1]
    assert read_masks(out / '0.masks.json') == []
    assert not RegionStore(out).read('0').any()


def test_masks_that_are_missing_are_added(images, out):
    extract(images, out, Masks())
    assert not list(out.rglob('*.masks.json'))
    assert len(extract(images, out, Masks(), masks=True).written) == 6
    assert extract(images, out, Masks(), masks=True).skipped == 6


def test_masks_do_not_outlive_their_map(images, out):
    extract(images, out, Masks(), masks=True)
    cv2.imwrite(str(images / '2.jpg'), np.full((5, 6, 3), 200, np.uint8))
    extract(images, out, Masks())
    assert not (out / '2.masks.json').exists()
    assert len(list(out.rglob('*.masks.json'))) == 5
    assert extract(images, out, Masks(), masks=True).written == ['2']
    assert read_masks(out / '2.masks.json')[0]['segmentation'].shape == (5, 6)


def test_sources_that_cannot_do_it_are_refused(images, out):
    with pytest.raises(TypeError, match=r'records\(image\)'):
        extract(images, out, Bands(), masks=True)
    with pytest.raises(TypeError, match='CachedRegions does not look at images'):
        extract(images, out, CachedRegions())
    assert not out.exists()


def test_progress_is_given_what_is_left_to_do(images, out):
    seen = []

    def track(keys, title):
        seen.append((title, len(keys)))
        return keys

    extract(images, out, Bands(), shard=(0, 2))
    extract(images, out, Bands(), track=track)
    assert seen == [('check', 6), ('extract', 3)]


def test_device_is_where_the_source_computes(images, out):
    class Meta(Bands):
        def find(self, images, data_samples=None):
            raise RuntimeError(f'on {images.device}')

    report = extract(images, out, Meta(), device='meta')
    assert all('on meta' in reason for reason in report.failed.values())


def test_verify_finds_every_kind_of_fault(images, out):
    extract(images, out, Bands())
    assert verify(images, out, Bands(), 6).ok
    store = RegionStore(out)
    # Valid files with the right hash, but other content: only looking inside can tell.
    write_map(out / '0.png', store.read('0')[:-1], store.record('0'))
    write_map(out / '2.png', np.where(store.read('2') == 1, 3, store.read('2')), store.record('2'))
    write_map(out / '4.png', store.read('4')[::-1], store.record('4'))
    assert verify(images, out).damaged == ['0', '2']
    report = verify(images, out, Bands(), 6)
    assert (report.damaged, report.different) == (['0', '2'], ['4'])
    assert verify(images, out).different == []
    samples = {tuple(verify(images, out, Bands(), 1, seed=seed).different) for seed in range(20)}
    assert samples == {('4',), ()}


def test_verify_needs_a_source_to_recompute(images, out):
    extract(images, out, Bands())
    with pytest.raises(ValueError, match='needs the source'):
        verify(images, out, None, 2)


class Slow(Bands):
    """Leaves time to be killed."""

    def find(self, images, data_samples=None):
        time.sleep(0.03)
        return super().find(images)


def start_worker(images, out, *shard):
    script = f"""
import sys, torch
torch.set_num_threads(1)
sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
from {Path(__file__).stem} import Slow, extract
extract({str(images)!r}, {str(out)!r}, Slow(), shard={shard})
"""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    return subprocess.Popen([sys.executable, '-c', script], env=environment)


@pytest.fixture
def many_images(tmp_path):
    folder = tmp_path / 'gt'
    folder.mkdir()
    generator = np.random.default_rng(1)
    for index in range(40):
        picture = generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{index:03}.png'), picture)
    return folder


@pytest.mark.slow
def test_killed_writer_leaves_nothing_corrupt_and_is_resumed(many_images, out, tmp_path):
    workers = [start_worker(many_images, out, index, 2) for index in range(2)]
    mine = [f'{index:03}' for index in range(0, 40, 2)]
    deadline = time.monotonic() + 120
    while not (out / f'{mine[4]}.png').exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    workers[0].send_signal(signal.SIGKILL)
    assert workers[0].wait() == -signal.SIGKILL
    assert workers[1].wait(120) == 0
    store, kept = RegionStore(out), contents(out)
    assert 25 <= len(kept) < 40
    assert all(store.read(path.stem).shape == (60, 80) for path in kept)
    report = verify(many_images, out)
    assert set(report.missing) == set(mine) - {path.stem for path in kept}
    assert (report.stale, report.damaged, report.orphaned) == ([], [], [])
    # Resuming does what is left, and touches nothing that was done.
    times = {path: (out / path).stat().st_mtime_ns for path in kept}
    assert sorted(extract(many_images, out, Slow()).written) == report.missing
    assert times == {path: (out / path).stat().st_mtime_ns for path in kept}
    assert verify(many_images, out).ok
    assert len(store.manifest['files']) == 40
    extract(many_images, tmp_path / 'whole', Bands())
    assert contents(out) == contents(tmp_path / 'whole')


def test_resumed_cache_is_byte_identical_to_an_uninterrupted_one(
    many_images, out, tmp_path, monkeypatch
):
    # However long a busy machine takes, the images' times count as settled.
    monkeypatch.setattr('mmsamdistill.cache.check._SETTLED_NS', 0)

    class Interrupted(Bands):
        def find(self, images, data_samples=None):
            if self.calls == 7:
                raise KeyboardInterrupt
            return super().find(images)

    with pytest.raises(KeyboardInterrupt):
        extract(many_images, out, Interrupted())
    assert len(contents(out)) == 7
    extract(many_images, out, Bands())
    extract(many_images, tmp_path / 'whole', Bands())
    assert contents(out) == contents(tmp_path / 'whole')
    assert (out / 'regions.json').read_bytes() == (tmp_path / 'whole/regions.json').read_bytes()
