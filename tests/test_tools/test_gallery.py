import runpy
import sys
from pathlib import Path

import pytest
from toy_gallery import Page
from toy_pictures import KEYS, make_folders, make_model, read_rgb

TOOL = Path(__file__).parents[2] / 'tools/compare.py'


@pytest.fixture
def root(tmp_path):
    return make_folders(tmp_path)


def call(monkeypatch, root, *more):
    columns = [f'--column={name}={root / name}' for name in ('a', 'b')]
    arguments = ['--truth', root / 'truth', '--degraded', root / 'degraded', *columns, *more]
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_a_gallery_of_the_whole_set_whatever_the_figure_picks(monkeypatch, root, capsys):
    gallery = root / 'sub/gallery'
    out = ('--out', root / 'f.png', '--count', 1, '--crop-size', 16)
    call(monkeypatch, root, *out, '--gallery', gallery, '--title', 'Title & co')
    page = Page(gallery / 'index.html')
    assert [image['name'] for image in page.data['images']] == list(KEYS)
    assert page.data['columns'] == ['degraded', 'a', 'b', 'truth']
    assert page.texts['h1'] == ['Title & co']
    assert all(path.is_file() for path in page.files(gallery))
    assert (root / 'f.png').is_file()
    assert f'written: {gallery / "index.html"}' in capsys.readouterr().out


def test_named_images_alone(monkeypatch, root):
    call(monkeypatch, root, '--gallery', root / 'gallery', '--images', 'ox')
    page = Page(root / 'gallery/index.html')
    assert [image['name'] for image in page.data['images']] == ['ox']
    assert [path.name for path in (root / 'gallery/thumbnails').iterdir()] == ['ox.jpg']


def test_links_instead_of_copies(monkeypatch, root):
    call(monkeypatch, root, '--gallery', root / 'gallery', '--link')
    link = root / 'gallery/images/2-a/cat.png'
    assert link.is_symlink()
    assert (read_rgb(link) == read_rgb(root / 'a/cat.png')).all()


def test_what_a_model_restored_is_copied(monkeypatch, root):
    model = make_model(root)
    options = ('--device', 'cpu', '--images', 'ox', '--gallery', root / 'gallery', '--link')
    call(monkeypatch, root, '--model', model, *options)
    restored = root / 'gallery/images/4-net/ox.png'
    assert not restored.is_symlink()
    assert restored.is_file()
    assert (root / 'gallery/images/5-truth/ox.png').is_symlink()


def test_other_folders_are_refused_before_anything_is_measured(monkeypatch, root):
    (root / 'mine').mkdir()
    (root / 'mine/letter.txt').write_text('dear')
    (root / 'a/cat.png').write_bytes(b'no image')  # would be the error, if it came so far
    with pytest.raises(SystemExit, match='and is no gallery'):
        call(monkeypatch, root, '--gallery', root / 'mine')
    assert (root / 'mine/letter.txt').read_text() == 'dear'
