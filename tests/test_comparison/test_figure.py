import re

import cv2
import numpy as np
import pytest
from toy_pictures import read_rgb

from mmsamdistill.comparison import Box, FigureRow, FigureStyle, draw_comparison
from mmsamdistill.comparison.columns import fit_to_size
from mmsamdistill.comparison.figure import FORMATS, common_scale, error_map
from mmsamdistill.comparison.layout import lay_out
from mmsamdistill.comparison.lettering import _measure, shorten, wrap_notes

COLUMNS = ('degraded', 'a', 'truth')


BOX = Box(10, 20, 24)


def make_row(shape=(60, 90), boxes=(BOX,), name='cat', seed=0):
    generator = np.random.default_rng(seed)
    pictures = generator.integers(0, 256, (3, *shape, 3), dtype=np.uint8)
    captions = {'degraded': '1 / 2', 'a': '3 / 4', 'truth': 'PSNR / SSIM'}
    return FigureRow(name, dict(zip(COLUMNS, pictures, strict=True)), captions, boxes)


@pytest.mark.parametrize(
    ('dpi', 'width', 'size'),
    [(150, 5.0, 24), (97, 6.3, 17), (72, 6.0, 20), (300, 3.45, 40)],
)
def test_every_pixel_of_a_crop_becomes_a_square_of_whole_pixels(tmp_path, dpi, width, size):
    rows = [make_row(boxes=[Box(10, 20, size)]), make_row((50, 40), [Box(0, 3, size - 7)], seed=1)]
    style = FigureStyle(width=width, dpi=dpi)
    draw_comparison(rows, tmp_path / 'f.png', style=style)
    drawn = read_rgb(tmp_path / 'f.png')
    assert drawn.shape[1] <= round(width * dpi)
    layout = lay_out([(60, 90), (50, 40)], [row.boxes for row in rows], 3, 0, style)
    for row, place in zip(rows, layout.rows, strict=True):
        (box,), (factor,) = row.boxes, place.factors
        assert factor > 1
        for picture, rect in zip(row.pictures.values(), place.crops[0], strict=True):
            part = picture[box.top : box.top + box.size, box.left : box.left + box.size]
            expected = np.kron(part, np.ones((factor, factor, 1), np.uint8))
            shown = drawn[rect.top : rect.top + rect.height, rect.left : rect.left + rect.width]
            assert (shown == expected).all()


def test_whole_images_stand_above_their_crops_and_the_place_is_marked(tmp_path):
    picture = np.zeros((60, 90, 3), np.uint8)
    row = FigureRow('cat', {'truth': picture}, {}, [Box(10, 20, 24)])
    style = FigureStyle(width=2.0)
    draw_comparison([row], tmp_path / 'f.png', style=style)
    place = lay_out([(60, 90)], [row.boxes], 1, 0, style).rows[0]
    whole, crop = place.whole[0], place.crops[0][0]
    assert (whole.left, whole.width) == (crop.left, crop.width)
    drawn = read_rgb(tmp_path / 'f.png')
    shown = drawn[whole.top : whole.top + whole.height, whole.left : whole.left + whole.width]
    red = np.argwhere((shown[..., 0] > 200) & (shown[..., 1] < 90))
    scale = whole.width / 90
    top, left = red.min(0) / scale
    bottom, right = red.max(0) / scale
    assert np.allclose((left, top, right, bottom), (10, 20, 34, 44), atol=0.6)


def test_several_crops_have_colours_of_their_own(tmp_path):
    row = make_row(boxes=[Box(0, 0, 24), Box(30, 30, 12)])
    style = FigureStyle(dpi=100)
    layout = lay_out([(60, 90)], [row.boxes], 3, 0, style)
    assert layout.rows[0].factors == [layout.rows[0].whole[0].width // size for size in (24, 12)]
    draw_comparison([row], tmp_path / 'f.png', style=style)
    drawn = read_rgb(tmp_path / 'f.png').reshape(-1, 3)
    for colour in ((255, 59, 48), (0, 200, 255)):
        assert (drawn == colour).all(1).sum() > 500


def test_error_maps_share_one_stated_scale(tmp_path):
    truth = np.full((60, 90, 3), 100, np.uint8)
    pictures = {'degraded': truth + 90, 'a': truth + 20, 'b': truth - 10, 'truth': truth}
    row = FigureRow('cat', pictures, {}, [Box(0, 0, 24)])
    style = FigureStyle(error_maps=True, dpi=100)
    text = draw_svg([row], tmp_path, style)
    assert 'clipped at 20.' in text
    assert '≥ 20' in text
    chosen = FigureStyle(error_maps=True, error_max=64, dpi=100)
    assert 'clipped at 64.' in draw_svg([row], tmp_path, chosen)
    assert 'Error maps' not in draw_svg([row], tmp_path)
    draw_comparison([row], tmp_path / 'f.png', style=style)
    drawn = read_rgb(tmp_path / 'f.png')
    from matplotlib import colormaps

    place = lay_out([(60, 90)], [row.boxes], 4, 0, style).rows[0]
    for rect, share in zip(place.errors[:3], (1.0, 1.0, 0.5), strict=True):
        colour = np.round(255 * np.array(colormaps['inferno'](share))[:3])
        shown = drawn[rect.top : rect.top + rect.height, rect.left : rect.left + rect.width]
        assert np.abs(shown - colour).max() <= 2


def draw_svg(rows, folder, style=None, notes=()):
    """Draw, and return the words that are written in the figure."""
    import matplotlib as mpl

    with mpl.rc_context({'svg.fonttype': 'none'}):
        draw_comparison(rows, folder / 'f.svg', notes, style or FigureStyle(dpi=100))
    text = (folder / 'f.svg').read_text()
    return ' '.join(re.findall(r'<text[^>]*>([^<]*)</text>', text))


def test_error_maps_equal_the_definition():
    first, second = np.random.default_rng(0).integers(0, 256, (2, 7, 9, 3), dtype=np.uint8)
    expected = np.abs(first.astype(int) - second.astype(int)).mean(axis=2)
    assert np.allclose(error_map(first, second), expected)
    assert common_scale([expected, expected / 2]) == np.ceil(np.percentile(expected, 99.5))
    assert common_scale([np.zeros((3, 3))]) == 1
    with pytest.raises(ValueError, match='different shapes'):
        error_map(first, second[1:])


def test_whole_images_are_averaged_when_reduced():
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert (fit_to_size(picture, 4, 4) == cv2.resize(picture, (4, 4), None, 0, 0, 3)).all()
    assert fit_to_size(picture, 16, 16).shape == (16, 16)


def test_everything_is_written_names_as_they_are(tmp_path):
    row = make_row(name='$x_1$ <&>')
    words = draw_svg([row], tmp_path, notes=['Protocol so and so.'])
    for text in ('degraded', 'truth', '3 / 4', 'PSNR / SSIM', 'Protocol so and so.', '$x_1$ &lt;'):
        assert text in words
    assert '24 \N{MULTIPLICATION SIGN} 24 pixels enlarged' in words


def test_long_texts_are_broken_or_shortened():
    style = FigureStyle()
    notes = ['word ' * 100]
    lines = wrap_notes(notes, 1000, style)
    assert len(lines) > 3
    assert ' '.join(lines).split() == notes[0].split()
    assert max(_measure(line, style.font - 1, style) for line in lines) <= 1000
    short = shorten('a' * 60 + 'z' * 60, 300, 7, style)
    assert re.fullmatch('a+…z+', short)
    assert _measure(short, 7, style) <= 300
    assert shorten('cat', 300, 7, style) == 'cat'


MAGIC = (b'\x89PNG', b'\xff\xd8', b'\xff\xd8', b'%PDF', b'<?xml')


@pytest.mark.parametrize(('suffix', 'magic'), list(zip(FORMATS, MAGIC, strict=True)))
def test_formats(tmp_path, suffix, magic):
    out = tmp_path / f'deep/f{suffix.upper()}'
    draw_comparison([make_row()], out, style=FigureStyle(width=3.0, dpi=100))
    assert out.read_bytes().startswith(magic)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_pdf_has_fonts_that_publishers_take(tmp_path):
    draw_comparison([make_row()], tmp_path / 'f.pdf', style=FigureStyle(dpi=100))
    data = (tmp_path / 'f.pdf').read_bytes()
    assert b'/Type3' not in data
    assert b'/FontFile2' in data


def test_bad_figures_are_refused_before_anything_is_written(tmp_path):
    for out, rows, style, message in (
        ('f.gif', [make_row()], None, r'ends in one of \.png'),
        ('f.png', [], None, 'at least one image'),
        ('f.png', [make_row(boxes=[Box(80, 0, 24)])], None, '80,0,24 reaches outside of cat'),
        ('f.png', [make_row()], FigureStyle(width=0.5, dpi=100), 'crop of 24 pixels does not fit'),
    ):
        with pytest.raises(ValueError, match=message):
            draw_comparison(rows, tmp_path / out, style=style)
    with pytest.raises(ValueError, match='dpi=0'):
        FigureStyle(dpi=0)
    assert not list(tmp_path.iterdir())
