import os
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from toy import plain_model
from toy_gallery import Page

from mmsamdistill.deploy.export import build_model
from mmsamdistill.deploy.image_files import restore_file, restore_files
from mmsamdistill.deploy.restorer import Restorer

TOOL = Path(__file__).parents[2] / 'tools/restore.py'
NAMES = ('a.png', 'sub/b.jpg', 'sub/deep/c.bmp')


@pytest.fixture
def files(tmp_path):
    step = {'type': 'LoadImageFromFile', 'key': 'img', 'channel_order': 'rgb'}
    cfg = Config({'model': plain_model(), 'test_pipeline': [step]})
    cfg.dump(tmp_path / 'plain.py')
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'weights.pth')
    generator = np.random.default_rng(0)
    for name in NAMES:
        path = tmp_path / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), generator.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    return tmp_path


def run(monkeypatch, root, images, out, *options):
    arguments = [root / 'plain.py', root / 'weights.pth', images, out, '--device', 'cpu', *options]
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


def written(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file())


def expected(root, name, **options):
    cfg = Config.fromfile(root / 'plain.py')
    restorer = Restorer(cfg, root / 'weights.pth', **options)
    restore_file(restorer, root / 'images' / name, root / 'expected.png')
    return cv2.imread(str(root / 'expected.png'), cv2.IMREAD_UNCHANGED)


def test_whole_folder_with_its_structure(files, monkeypatch, capsys):
    run(monkeypatch, files, files / 'images', files / 'out')
    assert written(files / 'out') == ['a.png', 'sub/b.png', 'sub/deep/c.png']
    for name in NAMES:
        result = cv2.imread(str((files / 'out' / name).with_suffix('.png')), cv2.IMREAD_UNCHANGED)
        assert (result == expected(files, name)).all()
    assert 'restored: 3 of 3' in capsys.readouterr().out


def test_one_image_tiled_with_a_suffix(files, monkeypatch):
    options = ('--tile', '32', '--tile-overlap', '0', '--suffix', '_x')
    run(monkeypatch, files, files / 'images/a.png', files / 'out', *options)
    assert written(files / 'out') == ['a_x.png']
    result = cv2.imread(str(files / 'out/a_x.png'))
    assert (result == expected(files, 'a.png', tile=32, overlap=0)).all()
    assert (result != expected(files, 'a.png')).any()


def test_broken_image_is_reported_at_the_end_and_stops_nothing(files, monkeypatch, capsys):
    (files / 'images/a.png').write_bytes(b'broken')
    with pytest.raises(SystemExit, match=r'not restored:\n.*a\.png'):
        run(monkeypatch, files, files / 'images', files / 'out')
    assert written(files / 'out') == ['sub/b.png', 'sub/deep/c.png']
    assert 'restored: 2 of 3' in capsys.readouterr().out


def test_names_and_links_of_any_kind_are_on_one_line(files, monkeypatch, capsys):
    for name in ('two\nlines.png', os.fsdecode(b'no text \xff.png')):
        Image.new('1', (20, 20)).save(files / 'images' / name)
    (files / 'images/loop.png').symlink_to('loop.png')
    (files / 'images/half\n.jpg').write_bytes(b'')
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, files, files / 'images', files / 'out')
    heading, *lines = str(ended.value).splitlines()
    assert heading == 'not restored:'
    assert len(lines) == 2
    assert "half\\n.jpg' (ValueError: " in lines[0]
    assert 'loop.png (OSError: ' in lines[1]
    printed = capsys.readouterr().out
    assert 'restored: 5 of 7' in printed
    assert "no text \\udcff.png' and 1 more" in printed


def test_a_page_shows_what_was_restored_before_and_after(files, monkeypatch, capsys):
    (files / 'images/a.png').write_bytes(b'broken')
    options = ('--page', files / 'images/page', '--suffix', '_x')
    for _ in range(2):  # what is there already is no input, and is replaced
        with pytest.raises(SystemExit, match='not restored'):
            run(monkeypatch, files, files / 'images', files / 'out', *options)
        assert 'restored: 2 of 3' in capsys.readouterr().out
    page = Page(files / 'images/page/index.html')
    assert page.data['columns'] == ['degraded', 'restored']
    assert [image['name'] for image in page.data['images']] == ['sub/b_x', 'sub/deep/c_x']
    for image, name in zip(page.data['images'], NAMES[1:], strict=True):
        before, after = (files / 'images/page' / url for url in image['files'])
        assert before.read_bytes() == (files / 'images' / name).read_bytes()
        assert after.read_bytes() == (files / f'out/{image["name"]}.png').read_bytes()
        assert image['size'] == [50, 40]
    assert all(path.is_file() for path in page.files(files / 'images/page'))
    # There is no truth, hence no number.
    assert not list((files / 'images/page').glob('scores*'))
    texts = {name: each for name, each in page.texts.items() if name not in ('script', 'style')}
    assert 'PSNR' not in str(texts)


def test_a_page_where_the_results_go_is_refused_at_once(files, monkeypatch):
    with pytest.raises(SystemExit, match='choose another folder'):
        run(monkeypatch, files, files / 'images', files / 'out', '--page', files / 'out')
    assert not (files / 'out').exists()


def test_results_inside_the_images_folder_are_no_inputs(files, monkeypatch, capsys):
    for again in range(2):
        run(monkeypatch, files, files / 'images', files / 'images/out')
        printed = capsys.readouterr().out
        assert 'restored: 3 of 3' in printed
        assert ('3 images are results' in printed) == again
    assert len(written(files / 'images')) == 6


def test_nothing_is_overwritten_unasked(files, monkeypatch):
    before = (files / 'images/a.png').read_bytes()
    with pytest.raises(SystemExit, match='overwrite an input'):
        run(monkeypatch, files, files / 'images', files / 'images')
    assert (files / 'images/a.png').read_bytes() == before
    run(monkeypatch, files, files / 'images', files / 'images', '--suffix', '_restored')
    assert (files / 'images/a_restored.png').exists()
    (files / 'images/a.jpg').write_bytes(before)
    with pytest.raises(SystemExit, match='same name but for the suffix'):
        run(monkeypatch, files, files / 'images', files / 'out')


@pytest.mark.parametrize(
    ('options', 'message'),
    [(('--tile', '30'), 'multiple of 16'), (('--tile', '32'), 'larger than overlap')],
)
def test_senseless_tiles_stop_at_once(files, monkeypatch, options, message):
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, files, files / 'images', files / 'out', *options)
    assert not (files / 'out').exists()


@pytest.mark.slow
def test_starts_in_a_fresh_interpreter():
    environment = {**os.environ, 'PYTHONPATH': str(TOOL.parents[1])}
    command = [sys.executable, TOOL, '--help']
    process = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert '--cfg-options' in process.stdout


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--tile-overlap', '16'), '--tile-overlap means nothing without --tile'),
        (('--device', 'banana'), "device 'banana' is not there"),
        (('--local', '64'), 'ToyNet has no global pooling'),
    ],
)
def test_senseless_options_are_one_line(files, monkeypatch, capsys, options, message):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, files, files / 'images', files / 'out', *options)
    assert ended.value.code in (1, 2)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (files / 'out').exists()


def test_a_missing_config_is_one_line(files, monkeypatch, capsys):
    (files / 'plain.py').unlink()
    with pytest.raises(SystemExit):
        run(monkeypatch, files, files / 'images', files / 'out')
    assert 'plain.py' in capsys.readouterr().err.strip().splitlines()[-1]


def test_batches_windows_and_half_precision(files, monkeypatch, capsys):
    options = ('--tile', 'auto', '--batch-size', '2', '--amp')
    restoring = mock.Mock(wraps=restore_files)
    monkeypatch.setattr('mmsamdistill.deploy.image_files.restore_files', restoring)
    run(monkeypatch, files, files / 'images', files / 'out', *options)
    assert restoring.call_args.args[-1] == 2
    assert restoring.call_args.args[0].amp
    assert 'restored: 3 of 3' in capsys.readouterr().out
    result = cv2.imread(str(files / 'out/a.png')).astype(int)
    assert abs(result - expected(files, 'a.png')).max() <= 8


def test_what_cannot_be_kept_is_said_once(files, monkeypatch, capsys):
    for name in ('x', 'y'):
        Image.new('CMYK', (20, 20), (10, 20, 30, 40)).save(files / f'images/{name}.jpg')
    run(monkeypatch, files, files / 'images', files / 'out')
    printed = capsys.readouterr().out
    assert printed.count('CMYK becomes RGB') == 1
    assert 'x.jpg and 1 more' in printed
    assert '(statistics: global)' in printed


def test_failures_end_with_one(files, monkeypatch, capsys):
    weights = torch.load(files / 'weights.pth', weights_only=True)
    weights['state_dict']['generator.last.bias'] += float('nan')
    torch.save(weights, files / 'weights.pth')
    with pytest.raises(SystemExit, match=r'not restored:(.|\n)*NaN or infinite'):
        run(monkeypatch, files, files / 'images', files / 'out')
    assert not (files / 'out').exists()
    assert 'restored: 0 of 3' in capsys.readouterr().out
