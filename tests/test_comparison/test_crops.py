from pathlib import Path

import numpy as np
import pytest

from mmsamdistill.comparison import Box, Columns, CropChoice, most_different_box, parse_crop


def naive_box(first, last, truth, size):
    size = min(size, *truth.shape[:2])
    error = [np.square(x.astype(float) - truth).sum(axis=2) for x in (first, last)]
    best = max(
        (abs((error[0] - error[1])[y : y + size, x : x + size].sum()), -y, -x)
        for y in range(truth.shape[0] - size + 1)
        for x in range(truth.shape[1] - size + 1)
    )
    return Box(-best[2], -best[1], size)


@pytest.mark.parametrize('size', [1, 3, 7, 50])
@pytest.mark.parametrize('seed', range(3))
def test_box_equals_exhaustive_search(size, seed):
    pictures = np.random.default_rng(seed).integers(0, 256, (3, 9, 12, 3), dtype=np.uint8)
    assert most_different_box(*pictures, size) == naive_box(*pictures, size)


def test_losses_count_as_much_as_gains():
    truth = np.zeros((20, 20, 3), np.uint8)
    first, last = truth.copy(), truth.copy()
    first[0:4, 0:4] = 10  # here the last model is better by this much
    last[12:16, 8:12] = 11  # and here worse by more
    assert most_different_box(first, last, truth, 4) == (8, 12, 4)
    assert most_different_box(last, first, truth, 4) == (8, 12, 4)


def test_equal_errors_of_opposite_sign_do_not_differ():
    truth = np.full((8, 8, 3), 100, np.uint8)
    first, last = truth + 5, truth - 5
    last[5, 6] = truth[5, 6]
    assert most_different_box(first.astype(np.uint8), last.astype(np.uint8), truth, 1) == (6, 5, 1)


def test_bad_arguments_are_named():
    a, b = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(ValueError, match=r'\(4, 4, 3\), \(4, 4, 3\) and \(4, 5, 3\)'):
        most_different_box(a, a, b)
    with pytest.raises(ValueError, match='size=0'):
        most_different_box(a, a, a, 0)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('1,2,3', (None, Box(1, 2, 3))),
        ('a=b=1,2,3', ('a=b', Box(1, 2, 3))),
        ('a,1=1,2,3', ('a,1', Box(1, 2, 3))),
    ],
)
def test_crops_are_parsed(text, expected):
    assert parse_crop(text) == expected


@pytest.mark.parametrize('text', ['', '1,2', '1,2,3,4', '-1,2,3', '1,2,0', '=1,2,3', '1.5,2,3'])
def test_other_texts_are_no_crops(text):
    with pytest.raises(ValueError, match='expected X,Y,SIZE'):
        parse_crop(text)


COLUMNS = Columns({name: {'cat': Path(), 'ox': Path()} for name in ('a', 'b', 'truth')}, ())


def pictures():
    made = np.zeros((3, 8, 12, 3), np.uint8)
    made[0, 6, 9] = 50
    return dict(zip(COLUMNS.files, made, strict=True))


def test_own_crops_come_before_those_for_all_and_these_before_the_rule():
    mine, all_ = Box(0, 0, 4), Box(2, 2, 4)
    choice = CropChoice([(None, all_), ('cat', mine), ('cat', all_)])
    assert choice.boxes(COLUMNS, 'cat', pictures()) == [mine, all_]
    assert choice.boxes(COLUMNS, 'ox', pictures()) == [all_]
    assert CropChoice(size=1).boxes(COLUMNS, 'ox', pictures()) == [(9, 6, 1)]


def test_the_choice_says_who_chose():
    box = Box(0, 0, 4)
    rule = 'where the squared errors of a and b differ most, in either direction'
    assert CropChoice().describe(COLUMNS, ['cat', 'ox']) == f'Crops: {rule}.'
    mixed = CropChoice([('ox', box)]).describe(COLUMNS, ['cat', 'ox'])
    assert mixed == f'Crops: {rule}; of ox by hand.'
    for by_hand in ([(None, box)], [('ox', box), ('cat', box)]):
        assert CropChoice(by_hand).describe(COLUMNS, ['cat', 'ox']) == 'Crops: chosen by hand.'
    alone = Columns({name: COLUMNS.files[name] for name in ('a', 'truth')}, ())
    assert 'where the squared error of a is largest' in CropChoice().describe(alone, ['cat'])


def test_crops_outside_and_of_images_not_shown_are_refused():
    choice = CropChoice([('cat', Box(9, 0, 4))])
    with pytest.raises(ValueError, match=r'9,0,4 reaches outside of cat: .* at most 12 '):
        choice.boxes(COLUMNS, 'cat', pictures())
    with pytest.raises(ValueError, match="crop is given for 'cat'"):
        choice.check(['ox'])
