import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from mmengine.config import Config
from toy_pictures import KEYS, make_folders, make_model, read_rgb, write_picture

from mmsamdistill.deploy.image_files import restore_file
from mmsamdistill.deploy.restorer import Restorer
from mmsamdistill.evaluation import measure

TOOL = Path(__file__).parents[2] / 'tools/compare.py'


@pytest.fixture
def root(tmp_path):
    return make_folders(tmp_path)


@pytest.fixture
def call(root, monkeypatch, capsys):
    """Run the tool, and return what it prints."""

    def run(*more, columns=('degraded', 'a', 'b')):
        arguments = ['--truth', root / 'truth', '--dpi', 100]
        for name in columns:
            arguments += ['--column', f'{name}={root / name}']
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, (*arguments, *more))])
        # Text as text, so that it can be read back.
        with mpl.rc_context({'svg.fonttype': 'none'}):
            runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    return run


def words(path):
    return ' '.join(re.findall(r'<text[^>]*>([^<]*)</text>', path.read_text()))


def score(restored, truth):
    planes = [read_rgb(path).transpose(2, 0, 1).copy() for path in (restored, truth)]
    values = measure(*planes, 'denoise_rgb')
    return f'{values["PSNR"].item():.2f} / {values["SSIM"].item():.4f}'


def test_the_figure_states_numbers_protocol_and_rules(call, root):
    options = ('--crop-size', 16, '--error-maps', '--error-max', 77)
    printed = call('--out', root / 'f.svg', *options)
    text = words(root / 'f.svg')
    for key in KEYS:
        for name in ('degraded', 'a', 'b'):
            assert score(root / f'{name}/{key}.png', root / f'truth/{key}.png') in text
    for said in (
        'protocol denoise_rgb: RGB, 8 bit.',
        'Images: all 3.',
        'where the squared errors of a and b differ most, in either direction',
        'Zoom: 16 \N{MULTIPLICATION SIGN} 16 pixels',
        'Error maps: |restored',
        'clipped at 77.',
    ):
        assert said in text
    assert '| b        |' in printed
    assert '3 of 3 images, denoise_rgb' in printed


@pytest.mark.parametrize(
    ('rule', 'key'), [('first', 'cat'), ('best', 'cat'), ('worst', 'night/dog'), ('typical', 'ox')]
)
def test_images_are_picked_by_the_rule_that_is_stated(call, root, rule, key):
    call('--out', root / 'f.svg', '--pick', rule, '--count', 1, '--crop-size', 16)
    text = words(root / 'f.svg')
    assert key in text
    assert not [other for other in KEYS if other != key and other in text]
    assert f'Images: 1 of 3, {"the first" if rule == "first" else "those"}' in text
    assert ('ahead on 2.' in text) == (rule != 'first')


def test_images_and_crops_by_hand_are_stated_as_such(call, root):
    crops = ('--crop', '1,2,16', '--crop', 'ox=3,4,8')
    call('--out', root / 'f.svg', '--images', 'ox', 'cat', *crops)
    text = words(root / 'f.svg')
    assert 'Images: 2 of 3, chosen by hand.' in text
    assert 'Crops: chosen by hand.' in text
    assert re.search(r'8 . 8 pixels enlarged \d+ times, 16 . 16 pixels', text)
    assert text.index('ox') < text.index('cat')


def test_size_and_resolution(call, root):
    call('--out', root / 'f.png', '--crop-size', 16, '--width', 4, '--dpi', 100)
    assert 300 < cv2.imread(str(root / 'f.png')).shape[1] <= 400


def test_another_protocol(call, root):
    call('--out', root / 'f.svg', '--protocol', 'rain_y_matlab', '--crop-size', 16)
    assert 'rain_y_matlab: Y of MATLAB, 8 bit' in words(root / 'f.svg')


@pytest.mark.slow
@pytest.mark.parametrize('tile', [(), (32, 0)])
def test_models_are_run_on_the_degraded_images_in_the_order_given(call, root, tile):
    model, degraded = make_model(root), root / 'degraded'
    options = ('--device', 'cpu', '--images', 'ox', '--crop-size', 16)
    if tile:
        options += ('--tile', tile[0], '--tile-overlap', tile[1])
    more = ('--degraded', degraded, '--column', f'a={root / "a"}', '--model', model)
    call('--out', root / 'f.svg', *more, '--column', f'b={root / "b"}', *options, columns=())
    windows = dict(zip(('tile', 'overlap'), tile, strict=False))
    restorer = Restorer(
        Config.fromfile(root / 'plain.py'), root / 'weights.pth', device='cpu', **windows
    )
    restore_file(restorer, degraded / 'ox.png', root / 'expected.png')
    text = words(root / 'f.svg')
    assert score(root / 'expected.png', root / 'truth/ox.png') in text
    places = [text.index(f' {name} ') for name in ('a', 'net', 'b', 'truth')]
    assert text.startswith('degraded ')
    assert places == sorted(places)


def test_models_without_degraded_images_or_files_are_named(call, root):
    out = ('--out', root / 'f.png')
    with pytest.raises(SystemExit, match='give their folder by --degraded'):
        call('--model', 'net=c.py,w.pth', *out, columns=('a',))
    with pytest.raises(SystemExit, match=r'c\.py'):
        call('--model', 'net=c.py,w.pth', *out)


def break_partner(root):
    (root / 'b/cat.png').unlink()
    return r'truth/cat\.png has no partner cat\.\* in .*/b,.*restore them'


def break_size(root):
    write_picture(root / 'b/cat.png', np.zeros((40, 48, 3), np.uint8))
    return r'b/cat\.png has 48 x 40 pixels, but the truth .*cut what was padded'


def break_file(root):
    (root / 'a/cat.png').write_bytes(b'no image')
    return r'a/cat\.png cannot be read as an image: make or copy this file anew'


def break_folder(root):
    for path in (root / 'a').rglob('*.png'):
        path.unlink()
    return 'a holds no image'


@pytest.mark.parametrize('damage', [break_partner, break_size, break_file, break_folder])
def test_bad_input_is_one_error_before_anything_is_written(call, root, damage):
    message = damage(root)
    with pytest.raises(SystemExit, match=message) as caught:
        call('--out', root / 'out/f.png', '--gallery', root / 'out/gallery', '--crop-size', 16)
    assert '\n' not in str(caught.value)
    assert not (root / 'out').exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--images', 'fox'), "no image 'fox'"),
        (('--crop', '40,0,16'), 'reaches outside of cat'),
        (('--crop', 'fox=0,0,16'), "crop is given for 'fox'"),
        (('--column', 'a=elsewhere'), 'needs a name of its own'),
        (('--column', 'truth=elsewhere'), "other than 'truth'"),
        (('--column', 'c=elsewhere'), 'elsewhere does not exist'),
        (('--width', '-1'), 'width=-1'),
        (('--count', '0'), 'count=0'),
        (('--out', 'f.gif'), 'ends in one of'),
    ],
)
def test_bad_options_are_one_error(call, root, options, message):
    with pytest.raises(SystemExit, match=message):
        call('--out', root / 'out/f.png', '--crop-size', 16, *options)
    assert not (root / 'out').exists()


@pytest.mark.parametrize(
    ('option', 'value', 'message'),
    [
        ('--count', 0, '--count=0'),
        ('--crop-size', 0, '--crop-size=0'),
        ('--protocol', 'blur', "no protocol 'blur'"),
    ],
)
def test_options_are_looked_at_before_models_restore(call, root, option, value, message):
    with pytest.raises(SystemExit, match=message):
        call('--model', 'net=c.py,w.pth', '--out', root / 'f.png', option, value)


def test_results_are_not_written_among_the_images(call, root):
    with pytest.raises(SystemExit, match='be taken for one of them'):
        call('--out', root / 'truth/f.png')
    with pytest.raises(SystemExit, match='be taken for one of them'):
        call('--gallery', root / 'b/gallery')


@pytest.mark.parametrize('bad', ['--column=a', '--model=a=b', '--crop=1,2', '--pick=nicest'])
def test_bad_words_are_explained_by_the_parser(call, root, capsys, bad):
    with pytest.raises(SystemExit):
        call('--out', root / 'f.png', bad)
    assert bad[2:].split('=', 1)[1] in capsys.readouterr().err


def test_something_must_be_made(call, capsys):
    with pytest.raises(SystemExit):
        call()
    assert 'give --out FIGURE, --gallery FOLDER, or both' in capsys.readouterr().err


@pytest.mark.slow
def test_starts_in_a_fresh_interpreter():
    environment = {**os.environ, 'PYTHONPATH': str(TOOL.parents[1])}
    command = [sys.executable, TOOL, '--help']
    process = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert '--error-maps' in process.stdout
