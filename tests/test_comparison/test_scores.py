import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from toy_pictures import KEYS, folders, make_folders, read_rgb, write_picture

from mmsamdistill.comparison import (
    PICKS,
    Scores,
    describe_pick,
    find_columns,
    format_score,
    pick_images,
    score_images,
    summary_rows,
)
from mmsamdistill.comparison.scores import format_gain
from mmsamdistill.evaluation import get_protocol, measure


@pytest.fixture
def root(tmp_path):
    return make_folders(tmp_path)


def scores_of(gains, pair=('a', 'b')):
    values = {
        key: {'a': {'PSNR': 30.0, 'SSIM': 0.5}, 'b': {'PSNR': 30.0 + gain, 'SSIM': 0.5}}
        for key, gain in gains.items()
    }
    return Scores(get_protocol('denoise_rgb'), values, pair)


@pytest.mark.parametrize('protocol', ['denoise_rgb', 'rain_y_matlab'])
def test_numbers_are_those_of_the_protocol(root, protocol):
    scores = score_images(find_columns(folders(root)), protocol)
    for key in KEYS:
        truth, restored = (read_rgb(root / name / f'{key}.png') for name in ('truth', 'b'))
        planes = [torch.from_numpy(x.copy()).permute(2, 0, 1) for x in (restored, truth)]
        expected = {name: value.item() for name, value in measure(*planes, protocol).items()}
        assert scores.values[key]['b'] == expected
        if protocol == 'denoise_rgb':
            psnr = peak_signal_noise_ratio(truth, restored)
            assert scores.values[key]['b']['PSNR'] == pytest.approx(psnr)


def test_gains_and_means(root):
    scores = score_images(find_columns(folders(root)))
    values = scores.values
    assert scores.gains['cat'] == values['cat']['b']['PSNR'] - values['cat']['a']['PSNR'] > 5
    assert scores.gains['night/dog'] < -5
    row = summary_rows(['degraded', 'a', 'b', 'truth'], scores)[-1]
    assert row['column'] == 'b'
    assert row['SSIM'] == pytest.approx(np.mean([values[key]['b']['SSIM'] for key in KEYS]))
    assert row['gain'] == pytest.approx(np.mean(list(scores.gains.values())))


def test_each_of_several_models_has_its_own_gain_over_the_first():
    rows = {'a': (30.0, 20.0), 'b': (31.0, 22.0), 'c': (29.0, 24.0)}
    values = {
        key: {name: {'PSNR': psnr[index], 'SSIM': 0.5} for name, psnr in rows.items()}
        for index, key in enumerate(('cat', 'dog'))
    }
    scores = Scores(get_protocol('denoise_rgb'), values, ('a', 'c'))
    gains = {row['column']: row['gain'] for row in summary_rows(['a', 'b', 'c', 'truth'], scores)}
    assert gains == {'a': 0.0, 'b': 1.5, 'c': 1.5}
    assert scores.gains == {'cat': -1.0, 'dog': 4.0}


def test_perfect_images_have_no_gain_over_perfect_ones(root):
    for name in ('a', 'b'):
        write_picture(root / name / 'cat.png', read_rgb(root / 'truth/cat.png'))
    scores = score_images(find_columns(folders(root)))
    assert scores.values['cat']['b']['PSNR'] == math.inf
    assert scores.gains['cat'] == 0
    assert scores.mean('a', 'PSNR') == math.inf


def test_too_small_images_name_the_file(root):
    for name in ('truth', 'a', 'b'):
        write_picture(root / name / 'ox.png', np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(ValueError, match=r'truth/ox\.png cannot be measured by denoise_rgb'):
        score_images(find_columns(folders(root, 'a', 'b', 'truth'), ['ox']))


GAINS = {'v': 0.1, 'w': -2.0, 'x': 3.0, 'y': 0.4, 'z': 0.0}


@pytest.mark.parametrize(
    ('rule', 'expected'),
    [('first', 'vwx'), ('best', 'xyv'), ('worst', 'wzv'), ('typical', 'vzy')],
)
def test_rules_pick_what_they_say(rule, expected):
    assert ''.join(pick_images(scores_of(GAINS), rule, 3)) == expected
    assert len(pick_images(scores_of(GAINS), rule, 99)) == 5


def test_infinite_gains_can_be_picked():
    gains = {'v': 0.1, 'w': math.inf, 'x': -math.inf}
    assert pick_images(scores_of(gains), 'best', 1) == ['w']
    assert pick_images(scores_of(gains), 'worst', 1) == ['x']
    assert pick_images(scores_of({'w': math.inf}), 'typical', 1) == ['w']
    assert 'n/a dB' in describe_pick(scores_of(gains), 'best', 1, 3)


def test_bad_picks_are_named():
    with pytest.raises(KeyError, match="no rule 'nicest'"):
        pick_images(scores_of(GAINS), 'nicest', 1)
    with pytest.raises(ValueError, match='count=0'):
        pick_images(scores_of(GAINS), 'best', 0)
    with pytest.raises(ValueError, match='compares two columns'):
        pick_images(scores_of(GAINS, None), 'best', 1)


def test_a_pick_says_its_rule_and_how_the_others_fared():
    text = describe_pick(scores_of(GAINS), 'best', 2, 5)
    assert 'Images: 2 of 5, those where b gains most PSNR over a.' in text
    assert 'on all 5: +0.30 dB (\N{MINUS SIGN}2.00 to +3.00), ahead on 3.' in text
    assert len({describe_pick(scores_of(GAINS), rule, 2, 5) for rule in PICKS}) == len(PICKS)
    # What was not measured is not summed up.
    assert describe_pick(scores_of(GAINS), 'first', 5, 9) == 'Images: 5 of 9, the first by name.'
    assert describe_pick(scores_of(GAINS), None, 2, 5) == 'Images: 2 of 5, chosen by hand.'


def test_numbers_are_written_as_in_tables():
    assert format_score('PSNR', 30.126) == '30.13'
    assert format_score('SSIM', 0.98765) == '0.9877'
    assert format_score('PSNR', math.nan) == 'n/a'
    assert [format_gain(x) for x in (0.004, -0.004, 1.0, math.inf)] == [
        '0.00',
        '0.00',
        '+1.00',
        '+∞',
    ]
