import math

import numpy as np
import pytest

from mmsamdistill.arguments import check_choice, check_flag, check_number, check_positive


def test_what_is_allowed_passes():
    check_choice((None, 'pixel'), gate=None, other='pixel')
    check_choice({16: 'a', 19: 'b'}, depth=16)
    check_number(0, weight=0, other=math.inf, third=np.float32(0.5))
    check_number(1, below=3, whole=True, count=np.int64(2))
    check_positive(eps=1e-9)


@pytest.mark.parametrize('value', [-1, math.nan, True, '1', None, 3])
def test_no_number_within_the_limits(value):
    with pytest.raises(ValueError, match=r'^count=.* must be a number, at least 0 and below 3$'):
        check_number(0, below=3, first=1, count=value)


@pytest.mark.parametrize('value', ['no', 'False', 0, 1, None])
def test_what_is_neither_true_nor_false(value):
    check_flag(on=True, off=False)
    with pytest.raises(ValueError, match=r'^stop=.* must be True or False$'):
        check_flag(on=True, stop=value)


def test_whole_numbers_positive_numbers_and_choices():
    with pytest.raises(ValueError, match=r'^count=1\.5 must be a whole number, at least 1$'):
        check_number(1, whole=True, count=1.5)
    for value in (0, -1.0, math.nan, 'a'):
        with pytest.raises(ValueError, match=r'^eps=.* must be a number above 0$'):
            check_positive(eps=value)
    with pytest.raises(ValueError, match=r"^mode='a' is not one of \('b', 'c'\)$"):
        check_choice(['b', 'c'], mode='a')
