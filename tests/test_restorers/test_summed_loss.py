import pytest
import torch
from mmagic.registry import MODELS

from mmsamdistill.restorers import SummedLoss

LOSSES = {'near': {'type': 'L1Loss'}, 'far': {'type': 'MSELoss', 'loss_weight': 0.5}}


def test_is_the_sum_of_its_parts():
    torch.manual_seed(0)
    a, b = torch.rand(2, 2, 3, 8, 8)
    expected = (a - b).abs().mean() + 0.5 * (a - b).square().mean()
    assert torch.allclose(SummedLoss(LOSSES)(a, b), expected)
    alone = SummedLoss({'near': LOSSES['near']})(a, b)
    assert torch.allclose(alone, (a - b).abs().mean())
    assert MODELS.get('SummedLoss') is SummedLoss
    assert not SummedLoss(LOSSES).state_dict()


def test_gradient_is_that_of_the_sum():
    torch.manual_seed(0)
    a, b = torch.rand(1, 2, 3, 3).double().requires_grad_(), torch.rand(1, 2, 3, 3).double()
    assert torch.autograd.gradcheck(lambda x: SummedLoss(LOSSES)(x, b), a)


def test_nothing_to_sum_is_refused():
    with pytest.raises(ValueError, match='losses is empty'):
        SummedLoss({})
