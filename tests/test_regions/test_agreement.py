"""How far two label maps agree, whatever their numbers."""

import tracemalloc

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from mmsamdistill.regions.agreement import label_agreement


@pytest.mark.parametrize('seed', range(5))
def test_close_to_the_best_pairing(seed):
    generator = np.random.default_rng(seed)
    exact = np.kron(generator.integers(0, 9, (6, 6)), np.ones((4, 4), int))
    fast = np.where(generator.random(exact.shape) < 0.2, generator.integers(0, 9), exact)
    shared = np.zeros((9, 9))
    np.add.at(shared, (exact, fast), 1)
    best = shared[linear_sum_assignment(shared, maximize=True)].sum() / exact.size
    found = label_agreement(exact, generator.permutation(99)[fast])
    assert best / 2 <= found <= best
    assert found == pytest.approx(best, abs=0.05)
    assert label_agreement(exact, exact) == 1.0


def test_partners_are_one_to_one():
    # The larger share goes first; what is left over has no partner.
    assert label_agreement(np.array([[1, 1, 1, 2, 2]]), np.array([[7, 7, 8, 8, 8]])) == 4 / 5
    assert label_agreement(np.array([[1, 2, 3]]), np.array([[4, 4, 4]])) == 1 / 3


def test_memory_grows_with_pixels_and_not_with_pairs_of_regions():
    exact = np.arange(100_000).reshape(250, 400)
    tracemalloc.start()
    try:
        assert label_agreement(exact, exact[::-1]) == 1.0
        # A matrix of all pairs would take 80 GB.
        assert tracemalloc.get_traced_memory()[1] < 1000 * exact.size
    finally:
        tracemalloc.stop()
