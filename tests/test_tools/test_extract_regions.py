"""The command lines of the region tools, run as a user runs them."""

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmsamdistill.cache.map_file import write_map
from mmsamdistill.cache.store import RegionStore
from mmsamdistill.command_line import UsageError

TOOLS = Path(__file__).parents[2] / 'tools'


def load_tool(name):
    spec = importlib.util.spec_from_file_location(f'tool_{name}', TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def tool():
    return load_tool('extract_regions')


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'gt'
    (folder / 'a').mkdir(parents=True)
    for index, name in enumerate(('x.png', 'a/y.jpg', 'z.bmp')):
        picture = np.zeros((24, 20 + index, 3), np.uint8)
        picture[:, 10:] = 200
        cv2.imwrite(str(folder / name), picture)
    return folder


def call(tool, images, *options):
    options = [str(option) for option in options]
    return tool.main([str(images), str(images.parent / 'regions'), *options])


def test_cache_is_written_resumed_and_verified(tool, images, capsys):
    assert call(tool, images, '--source', 'superpixel') == 0
    assert '3 written, 0 were there, 0 failed' in capsys.readouterr().out
    store = RegionStore(images.parent / 'regions')
    assert store.keys() == ['a/y', 'x', 'z']
    assert set(store.read('x')[:, 0]) != set(store.read('x')[:, -1])
    assert call(tool, images, '--source', 'SuperpixelRegions') == 0
    assert '0 written, 3 were there' in capsys.readouterr().out
    assert call(tool, images, '--source', 'superpixel', '--verify', 3) == 0
    assert capsys.readouterr().out == 'fits\n'
    record, labels = store.record('x'), store.read('x')
    labels[0, 0] = labels[0, -1]  # of 480 pixels
    write_map(store.path('x'), labels, record)
    assert call(tool, images, '--source', 'superpixel', '--verify', 3) == 0
    assert call(tool, images, '--source', 'superpixel', '--verify', 3, '--tolerance', 0.001) == 1
    assert '1 different: x' in capsys.readouterr().out
    store.path('x').unlink()
    assert call(tool, images, '--source', 'superpixel', '--verify', 0) == 1
    assert '1 missing: x' in capsys.readouterr().out


def test_options_reach_the_source_and_the_library(tool, images, capsys):
    options = ['--source', 'superpixel', '--shard', '0/2', '--device', 'cpu']
    assert call(tool, images, *options, '--cfg-options', 'min_size=7', 'sigma=0') == 0
    store = RegionStore(images.parent / 'regions')
    assert store.keys() == ['a/y', 'z']
    assert (store.manifest['source']['min_size'], store.manifest['source']['sigma']) == (7, 0)
    with pytest.raises(ValueError, match='min_size: 7 in the cache, 10 now'):
        call(tool, images, '--source', 'superpixel')
    assert call(tool, images, '--source', 'superpixel', '--overwrite') == 0
    assert store.manifest['source']['min_size'] == 10
    with pytest.raises(TypeError, match=r'records\(image\)'):
        call(tool, images, '--source', 'superpixel', '--masks')


def test_each_process_of_torchrun_does_its_share_unless_told_which(tool, images, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert call(tool, images, '--source', 'superpixel') == 0
    store = RegionStore(images.parent / 'regions')
    assert store.keys() == ['x']
    assert call(tool, images, '--source', 'superpixel', '--shard', '2/3') == 0
    assert store.keys() == ['x', 'z']


def test_weights_and_their_model_reach_the_source(tool, images):
    options = ['--source', 'sam', '--checkpoint', 'own.pth', '--model-type', 'vit_l']
    source = tool.build_source(tool.parse_args([str(images), 'out', *options]))
    assert (source.checkpoint, source.model_type) == ('own.pth', 'vit_l')


def test_exit_code_tells_of_broken_images_by_name(tool, images, capsys):
    (images / 'x.png').write_bytes(b'broken')
    assert call(tool, images, '--source', 'superpixel') == 1
    captured = capsys.readouterr()
    assert '2 written' in captured.out
    assert f'FAILED {images / "x.png"}' in captured.err


def test_faults_of_the_user_are_messages(tool, images, capsys):
    for options in (
        ['--source', 'superpixel', '--shard', '2/2'],
        ['--source', 'superpixel', '--shard', 'half'],
        [],
    ):
        with pytest.raises(SystemExit):
            call(tool, images, *options)
    with pytest.raises(UsageError, match='unknown region source'):
        call(tool, images, '--source', 'telepathy')
    with pytest.raises(FileNotFoundError, match='none does not exist'):
        call(tool, images / 'none', '--source', 'superpixel')
    with pytest.raises(FileNotFoundError, match=r'/nowhere\.pth'):
        call(tool, images, '--source', 'sam', '--checkpoint', '/nowhere.pth')
    with pytest.raises(SystemExit):
        tool.parse_args(['--help'])


def test_source_of_ones_own(tool, images, tmp_path, monkeypatch):
    (tmp_path / 'my_source_module.py').write_text("""
import torch
from mmagic.registry import MODELS
from mmsamdistill.sources import RegionSource

@MODELS.register_module()
class OneRegion(RegionSource):
    def find(self, images, data_samples=None):
        return torch.ones_like(images[:, 0], dtype=torch.int64)
    def describe(self):
        return dict(type='OneRegion')
""")
    monkeypatch.syspath_prepend(tmp_path)
    assert call(tool, images, '--source', 'OneRegion', '--import', 'my_source_module') == 0
    assert RegionStore(images.parent / 'regions').read('x').min() == 1
    sys.modules.pop('my_source_module')


@pytest.fixture(scope='module')
def show():
    return load_tool('show_regions')


@pytest.mark.slow
def test_figures_are_drawn(show, images, tmp_path, capsys):
    for name, width in (('x', 20), ('a/y', 21)):
        write_map(tmp_path / 'regions' / f'{name}.png', np.eye(24, width, dtype=int), {})
    out = tmp_path / 'figures'
    paths = [str(images), str(tmp_path / 'regions'), str(out)]
    assert show.main(paths) == 0
    sizes = [cv2.imread(str(out / f'{name}.png')).std() for name in ('overlays', 'statistics')]
    assert min(sizes) > 10
    two_rows = cv2.imread(str(out / 'overlays.png')).shape[0]
    assert show.main([*paths, '--count', '1']) == 0
    assert cv2.imread(str(out / 'overlays.png')).shape[0] < two_rows
    with pytest.raises(UsageError, match='no region map for z'):
        show.main([*paths, '--keys', 'z'])


@pytest.mark.parametrize('place', ['gt', 'gt/look', 'regions', 'gt/../gt/a'])
def test_figures_are_not_drawn_among_the_images(show, images, tmp_path, place):
    write_map(tmp_path / 'regions/x.png', np.eye(24, 20, dtype=int), {})
    with pytest.raises(ValueError, match='be taken for one of them'):
        show.main([str(images), str(tmp_path / 'regions'), str(tmp_path / place)])
    assert not list(tmp_path.rglob('overlays.png'))


def test_statistics_by_hand(show):
    found = show.measure([np.array([[0, 1], [1, 4]]), np.zeros((2, 2), int)])
    assert found.regions.tolist() == [2, 0]
    assert found.coverage.tolist() == [0.75, 0]
    assert found.sizes.tolist() == [2, 1]


def test_overlay_and_boundaries(show):
    labels = np.array([[1, 1, 2], [1, 1, 2], [0, 0, 0]], np.int32)
    rgb = np.full((3, 3, 3), 100, np.uint8)
    marked = (show.with_boundaries(rgb, labels) != rgb).any(-1)
    assert marked.tolist() == [[False, True, True], [True, True, True], [True, True, True]]
    mixed = show.overlay(rgb, labels)
    assert (mixed[2] == 40).all()
    assert (mixed[0, 0] == mixed[1, 1]).all()
    assert (mixed[0, 0] != mixed[0, 2]).any()
    assert (show.overlay(rgb, labels, strength=0) == rgb).all()


def test_chosen_images_are_spread_over_the_cache(show):
    assert show.choose(list('abcdefg'), 3) == ['a', 'd', 'g']
    assert show.choose(['a'], 4) == ['a']


def test_torchrun_gives_each_process_its_share(tool, images, tmp_path, monkeypatch):
    out = tmp_path / 'regions'
    arguments = [str(images), str(out), '--source', 'superpixel']
    written = []
    for rank in ('0', '1'):
        monkeypatch.setenv('RANK', rank)
        monkeypatch.setenv('WORLD_SIZE', '2')
        before = set(out.rglob('*.png'))
        assert tool.main(arguments) == 0
        written.append(len(set(out.rglob('*.png')) - before))
    whole = len([path for path in images.rglob('*') if path.is_file()])
    assert sum(written) == whole
    assert min(written) < whole
