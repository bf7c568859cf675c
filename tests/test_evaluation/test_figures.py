import cv2
import numpy as np
import pytest

from mmsamdistill.evaluation.figures import draw_comparison, most_different_box


def naive_box(first, second, size):
    difference = np.abs(first.astype(float) - second).mean(axis=2)
    height, width = min(size, first.shape[0]), min(size, first.shape[1])
    best = max(
        (difference[y : y + height, x : x + width].sum(), -y, -x)
        for y in range(first.shape[0] - height + 1)
        for x in range(first.shape[1] - width + 1)
    )
    return -best[2], -best[1], width, height


@pytest.mark.parametrize('size', [1, 3, 7, 50])
def test_box_equals_exhaustive_search(size):
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 256, (2, 9, 12, 3), dtype=np.uint8)
    assert most_different_box(first, second, size) == naive_box(first, second, size)


def test_different_shapes_are_named():
    with pytest.raises(ValueError, match=r'\(4, 4, 3\) and \(4, 5, 3\)'):
        most_different_box(np.zeros((4, 4, 3)), np.zeros((4, 5, 3)))


def test_figure_shows_the_images_it_was_given(tmp_path):
    red, blue = np.zeros((2, 20, 30, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    captions = {'cat': {'one': '1 dB', 'two': '2 dB'}}
    draw_comparison(
        {'cat': {'one': red, 'two': blue}}, captions, {'cat': (3, 4, 8, 8)}, tmp_path / 'a/f.png'
    )
    drawn = cv2.imread(str(tmp_path / 'a/f.png'))[..., ::-1]
    third = drawn.shape[1] // 3
    assert (drawn[:, :third] == (255, 0, 0)).all(axis=2).sum() > 10_000
    assert not (drawn[:, -third:] == (255, 0, 0)).all(axis=2).any()
    assert (drawn[:, -third:] == (0, 0, 255)).all(axis=2).sum() > 10_000
