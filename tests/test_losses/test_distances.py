"""The pure distances: numbers by hand, and derivatives against finite differences."""

import pytest
import torch
from torch import nn

from mmsamdistill.losses.spd import (
    charbonnier_distance,
    feature_distance,
    gradient_ratio,
    gradient_scale,
    l1_distance,
    l2_distance,
    matched_distance,
)

SCALE = torch.tensor([0.5, 2.0], dtype=torch.float64)
DISTANCES = {
    'l1': l1_distance,
    'l2': l2_distance,
    'charbonnier': charbonnier_distance,
    'matched': lambda student, target: matched_distance(student, target, SCALE),
    'feature': feature_distance,
}


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 2, 3, 4, 2, generator=generator, dtype=torch.float64).unbind()


@pytest.mark.parametrize('name', DISTANCES)
def test_gradcheck(name, pair):
    student, target = pair
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: DISTANCES[name](x, target), student)


@pytest.mark.parametrize('name', DISTANCES)
def test_zero_and_flat_at_the_target(name, pair):
    student = pair[0].clone().requires_grad_()
    value = DISTANCES[name](student, pair[0])
    value.backward()
    assert value.abs() < 1e-15
    assert torch.equal(student.grad, torch.zeros_like(student))


def test_values_by_hand():
    student, target = torch.tensor([[[[1.0, 5.0]]]]), torch.tensor([[[[1.0, 2.0]]]])
    assert l1_distance(student, target) == 1.5
    assert l2_distance(student, target) == 4.5
    assert charbonnier_distance(student, target, eps=4.0) == 0.5 * (5 - 4)
    assert matched_distance(student, target, torch.tensor([2.0])) == 9.0
    # The target's variance is 0.25.
    assert feature_distance(student, target, eps=0.0) == 18.0


def test_charbonnier_goes_from_squared_to_absolute():
    zero = torch.zeros(1, dtype=torch.float64)
    small, large = zero + 1e-4, zero + 10.0
    torch.testing.assert_close(charbonnier_distance(small, zero, 1.0), small.square().squeeze() / 2)
    torch.testing.assert_close(
        charbonnier_distance(large, zero, 1e-6), large.squeeze(), rtol=1e-5, atol=0
    )


def test_gradient_scale_of_known_losses(pair):
    student, gt = pair
    per_image = student[0].numel()
    total = student.numel()
    error = (student - gt).flatten(1).norm(dim=1)
    torch.testing.assert_close(
        gradient_scale(student, gt, nn.MSELoss()), torch.full_like(error, 2 / total)
    )
    torch.testing.assert_close(
        gradient_scale(student, gt, nn.L1Loss()), per_image**0.5 / total / error
    )


def test_gradient_scale_is_zero_at_the_truth(pair):
    student, gt = pair
    mixed = torch.stack([gt[0], student[1]])
    scale = gradient_scale(mixed, gt, nn.MSELoss())
    assert scale[0] == 0
    assert scale[1] > 0

    def root(pred, target):
        return (pred - target).norm()  # its gradient at the truth is not defined

    assert gradient_scale(gt, gt, root).tolist() == [0, 0]


def test_gradient_scale_leaves_no_trace(pair):
    student, gt = pair
    student.requires_grad_()
    scale = gradient_scale(student * 1.0, gt, nn.MSELoss())
    assert not scale.requires_grad
    assert student.grad is None


def test_gradient_scale_survives_a_loss_that_works_in_place(pair):
    student, gt = pair
    before = student.clone()

    def in_place(pred, target):
        return (pred * 1.0).sub_(target).square_().mean()

    torch.testing.assert_close(
        gradient_scale(student, gt, in_place), gradient_scale(student, gt, nn.MSELoss())
    )
    assert torch.equal(student, before)


def test_gradient_scale_eps_decides_what_counts_as_perfect(pair):
    gt = pair[1]
    near = gt + 1e-5
    assert (gradient_scale(near, gt, nn.MSELoss()) > 0).all()
    assert (gradient_scale(near, gt, nn.MSELoss(), eps=1e-2) == 0).all()


def test_gradient_scale_needs_a_scalar(pair):
    with pytest.raises(ValueError, match=r'shape \(2, 3, 4, 2\).*scalar'):
        gradient_scale(*pair, nn.MSELoss(reduction='none'))


@pytest.mark.parametrize('span', [1.0, 2.0])
def test_gradient_ratio_of_known_losses(span):
    generator = torch.Generator().manual_seed(0)
    gt = torch.rand(4, 3, 5, 6, generator=generator, dtype=torch.float64)
    student = gt + 0.1 * torch.randn(gt.shape, generator=generator, dtype=torch.float64)
    error = (student - gt).square().mean(dim=(1, 2, 3)).sqrt().mean()
    # Beside the reference itself it is one; a squared error has twice the error's size.
    assert torch.allclose(gradient_ratio(student, gt, nn.L1Loss(), 4), torch.ones(()).double())
    assert torch.allclose(gradient_ratio(student, gt, nn.MSELoss(), 4), 2 * error)
    # Of one labelled image beside three others, whose mean has four terms.
    one = gradient_ratio(student[:1], gt[:1], nn.L1Loss(), 4)
    assert torch.allclose(one, 4 * torch.ones(()).double())
    # Images from black to white in `span`: the same images, the same relative size.
    scaled = gradient_ratio(span * student, span * gt, nn.L1Loss(), 4, span)
    assert torch.allclose(scaled, span * torch.ones(()).double())


def test_gradient_ratio_beside_psnr_loss_grows_as_training_succeeds():
    class PSNRLoss(nn.Module):
        def forward(self, student, gt):
            return 10 * (student - gt).square().mean(dim=(1, 2, 3)).log10().mean()

    gt = torch.zeros(1, 1, 4, 4)
    for error in (0.2, 0.05):
        # 20 / (ln 10 RMSE), as derived by hand.
        ratio = gradient_ratio(gt + error, gt, PSNRLoss(), 1)
        assert ratio.item() == pytest.approx(20 / (2.302585 * error), rel=1e-4)


def test_gradients_too_small_for_half_precision_are_those_of_single():
    draw = torch.Generator().manual_seed(0)
    student, gt = torch.rand(2, 1, 3, 600, 600, generator=draw)
    half = gradient_ratio(student.half(), gt, nn.L1Loss(), 1)
    assert half.item() == pytest.approx(gradient_ratio(student, gt, nn.L1Loss(), 1).item(), 1e-4)
