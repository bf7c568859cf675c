import csv
import json
import math
import os
import re

import numpy as np
import pytest
from toy_gallery import Page
from toy_pictures import KEYS, SHAPE, folders, make_folders, read_rgb, write_picture

import mmsamdistill.comparison.gallery as module
from mmsamdistill.comparison import check_gallery, find_columns, score_images, write_gallery
from mmsamdistill.evaluation import measure

ODD = (
    'a b#c?d%20e&amp;',
    '<img src=x onerror=alert(1)>',
    'quote\'"s',
    '</script>',  # a folder and a file
    '</script x',
    'Grüße 猫',
    '$x',
)


def make(root, out='gallery', names=(), **options):
    columns = find_columns(folders(root, *names))
    write_gallery(columns, score_images(columns), root / out, **options)
    return Page(root / out / 'index.html')


@pytest.fixture
def root(tmp_path):
    return make_folders(tmp_path)


def test_every_file_is_there_and_nothing_is_elsewhere(root):
    page = make(root)
    files = page.files(root / 'gallery')
    assert all(path.is_file() for path in files)
    assert root / 'gallery/images/4-truth/night/dog.png' in files
    here = {path for path in (root / 'gallery').rglob('*') if path.is_file()}
    names = {path.name for path in here - set(files)}
    assert names == {'index.html', 'scores.json', 'scores.md'}
    text = (root / 'gallery/index.html').read_text()
    assert not re.search(r'https?:|//\w|@import|url\(', text)


def test_numbers_equal_the_protocols(root):
    page = make(root)
    assert page.data['columns'] == ['degraded', 'a', 'b', 'truth']
    assert page.data['pair'] == ['a', 'b']
    for key, image in zip(KEYS, page.data['images'], strict=True):
        assert (image['name'], image['size']) == (key, [*SHAPE[::-1]])
        planes = {
            name: read_rgb(root / name / f'{key}.png').transpose(2, 0, 1).copy()
            for name in page.data['columns']
        }
        for index, name in enumerate(page.data['columns'][:-1]):
            expected = measure(planes[name], planes['truth'], 'denoise_rgb')
            for metric, value in expected.items():
                assert image[metric][index] == value.item()
        assert image['PSNR'][-1] is None
        assert image['gain'] == image['PSNR'][2] - image['PSNR'][1]
    texts = ' '.join(text for texts in page.texts.values() for text in texts)
    assert 'denoise_rgb: RGB, 8 bit' in texts
    mean = np.mean([image['PSNR'][2] for image in page.data['images']])
    assert f'{mean:.2f}' in page.texts['td']


def test_the_list_is_lazy_and_works_without_javascript(root):
    page = make(root)
    items = [attrs for tag, attrs in page.tags if attrs.get('class') == 'item']
    assert [item['data-index'] for item in items] == ['0', '1', '2']
    assert items[1]['href'] == 'images/3-b/night/dog.png'
    thumbnails = [attrs for tag, attrs in page.tags if tag == 'img' and 'src' in attrs]
    assert [image['loading'] for image in thumbnails] == ['lazy'] * 3
    assert all(image['src'].startswith('thumbnails/') for image in thumbnails)


def test_images_are_copies_and_thumbnails_are_small(root):
    large = np.random.default_rng(0).integers(0, 256, (400, 900, 3), dtype=np.uint8)
    for name in ('degraded', 'a', 'b', 'truth'):
        write_picture(root / name / 'ox.png', large)
    make(root)
    copy = root / 'gallery/images/3-b/ox.png'
    assert copy.read_bytes() == (root / 'b/ox.png').read_bytes()
    assert not copy.is_symlink()
    assert read_rgb(root / 'gallery/thumbnails/ox.jpg').shape == (120, 168, 3)
    make(root, link=['b'])
    assert not (root / 'gallery/images/2-a/ox.png').is_symlink()
    assert copy.is_symlink()
    assert copy.read_bytes() == (root / 'b/ox.png').read_bytes()


def test_formats_that_browsers_do_not_show_are_converted(root):
    picture = read_rgb(root / 'b/cat.png')
    (root / 'b/cat.png').unlink()
    write_picture(root / 'b/cat.tiff', picture)
    page = make(root, link=['b'])
    assert page.data['images'][0]['files'][2] == 'images/3-b/cat.png'
    assert (read_rgb(root / 'gallery/images/3-b/cat.png') == picture).all()


def test_odd_names_stay_names(tmp_path):
    make_folders(tmp_path, ODD)
    (tmp_path / 'a').rename(tmp_path / 'x')
    columns = find_columns({'"><script>': tmp_path / 'x', **folders(tmp_path, 'b', 'truth')})
    title = '<b>Title</b> & co'
    write_gallery(columns, score_images(columns), tmp_path / 'gallery', title)
    page = Page(tmp_path / 'gallery/index.html')
    assert all(path.is_file() for path in page.files(tmp_path / 'gallery'))
    assert {image['name'] for image in page.data['images']} == set(columns.keys)
    assert page.data['columns'][0] == '"><script>'
    assert page.texts['title'] == [title]
    tags = [tag for tag, _ in page.tags]
    assert tags.count('script') == 2
    # Browsers end a script where this parser does not.
    assert (tmp_path / 'gallery/index.html').read_text().count('</script') == 2
    assert 'b' not in tags
    assert not [attrs for _, attrs in page.tags if 'onerror' in attrs]
    shown = [text for text in page.texts['span'] if text in columns.keys]
    assert sorted(shown) == sorted(columns.keys)


@pytest.mark.skipif(os.name != 'posix', reason='names are bytes on POSIX alone')
def test_names_that_are_no_utf8_can_be_shown(tmp_path):
    make_folders(tmp_path, ('cat',))
    for name in ('a', 'b', 'truth'):
        try:
            os.rename(tmp_path / name / 'cat.png', os.fsencode(tmp_path / name) + b'/c\xe4t.png')
        except OSError:
            pytest.skip('this file system takes UTF-8 alone')
    columns = find_columns(folders(tmp_path, 'a', 'b', 'truth'))
    write_gallery(columns, score_images(columns), tmp_path / 'gallery')
    page = Page(tmp_path / 'gallery/index.html')
    assert page.data['images'][0]['name'] == 'c\N{REPLACEMENT CHARACTER}t'
    assert page.data['images'][0]['files'][0] == 'images/1-a/c%E4t.png'
    assert (tmp_path / 'gallery/images/1-a' / os.fsdecode(b'c\xe4t.png')).is_file()


def test_one_column_has_no_gains_and_perfect_images_infinite_psnr(root):
    write_picture(root / 'a/cat.png', read_rgb(root / 'truth/cat.png'))
    page = make(root, names=('a', 'truth'))
    assert page.data['pair'] is None
    assert page.data['images'][0]['gain'] is None
    assert page.data['images'][0]['PSNR'] == ['Infinity', None]
    assert '∞' in page.texts['td']
    assert 'Gain over' not in ' '.join(page.texts['th'])
    page = make(root, 'other')
    assert page.data['images'][0]['gain'] == '-Infinity'
    assert math.isinf(float(page.data['images'][0]['gain']))


def test_numbers_are_a_table_too(root):
    page = make(root)
    with open(root / 'gallery/scores.csv') as file:
        rows = list(csv.DictReader(file))
    assert [row['image'] for row in rows] == list(KEYS)
    assert float(rows[1]['b PSNR']) == page.data['images'][1]['PSNR'][2]
    assert json.loads((root / 'gallery/scores.json').read_text())['gain'] == ['a', 'b']


def test_a_gallery_replaces_its_predecessor_completely(root):
    make(root)
    for name in ('degraded', 'a', 'b', 'truth'):
        (root / name / 'ox.png').unlink()
    make(root)
    assert not list((root / 'gallery').rglob('ox.*'))
    assert sorted(path.name for path in root.iterdir()) == [
        'a',
        'b',
        'degraded',
        'gallery',
        'truth',
    ]
    assert (root / 'gallery').stat().st_mode & 0o777 == (root / 'a').stat().st_mode & 0o777


def test_an_interrupted_gallery_leaves_the_old_one(root, monkeypatch):
    make(root)
    before = (root / 'gallery/index.html').read_bytes()

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, 'page_text', fail)
    with pytest.raises(KeyboardInterrupt):
        make(root, title='new')
    assert (root / 'gallery/index.html').read_bytes() == before
    assert sorted(path.name for path in root.iterdir()) == [
        'a',
        'b',
        'degraded',
        'gallery',
        'truth',
    ]


def test_folders_of_others_are_never_replaced(root):
    (root / 'mine').mkdir()
    (root / 'mine/letter.txt').write_text('dear')
    with pytest.raises(ValueError, match=r"'letter\.txt' and is no gallery"):
        make(root, 'mine')
    make(root)
    (root / 'gallery/notes.txt').write_text('mine')
    with pytest.raises(ValueError, match=r"'notes\.txt'"):
        make(root)
    (root / 'file').write_text('')
    with pytest.raises(ValueError, match='is a file or a link'):
        check_gallery(root / 'file')
    (root / 'gallery/notes.txt').unlink()
    copies = {name: root / f'gallery/images/{name}' for name in ('2-a', '3-b')}
    columns = find_columns({**copies, 'truth': root / 'truth'})
    with pytest.raises(ValueError, match='which the gallery would replace'):
        write_gallery(columns, score_images(columns), root / 'gallery')
    assert (root / 'gallery/index.html').is_file()


def test_the_script_finds_every_element_it_asks_for(root):
    page = make(root)
    ids = {attrs['id'] for _, attrs in page.tags if 'id' in attrs}
    script = page.texts['script'][1]
    asked = set(re.findall(r"(?:\$|getElementById)\('([\w-]+)'\)", script))
    assert len(asked) > 10
    assert asked <= ids
    zooms = [attrs['data-zoom'] for _, attrs in page.tags if 'data-zoom' in attrs]
    assert zooms == ['fit', '1', '2', '4', '8']
    assert 'image-rendering: pixelated' in page.texts['style'][0]
    assert 'innerHTML' not in script
