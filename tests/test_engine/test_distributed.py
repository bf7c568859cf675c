"""Two processes train together."""

import numpy as np
import pytest
import torch
from processes import together
from toy import write_data
from workers import grow_patches, train_cascade

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason='torch without distributed'),
]


def test_ddp_needs_no_search_for_unused_parameters():
    names = together(train_cascade)[0]
    assert {name.split('.')[1] for name in names} == {'restorer', 'teacher', 'spf', 'average'}


def test_processes_share_the_stage_and_the_weights_but_not_the_images(tmp_path):
    first, second = together(grow_patches, write_data(tmp_path / 'data'), tmp_path / 'run')
    shapes = [(2, 3, 8, 8), (1, 3, 12, 12), (1, 3, 16, 16)]
    for process in (first, second):
        assert [images.shape for images in process['seen']] == shapes
    pairs = zip(first['seen'], second['seen'], strict=True)
    assert not any(np.array_equal(a, b) for a, b in pairs)
    assert np.array_equal(first['weights'], second['weights'])
