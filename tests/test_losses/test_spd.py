"""SPDLoss: distances and gates by hand, and the gradient that the student really gets."""

import pytest
import torch
from mmagic.registry import MODELS
from torch import nn

from mmsamdistill.losses import SPDLoss
from mmsamdistill.regions.region_map import RegionMap

DISTANCES = ['matched', 'pixel_loss', 'l1', 'l2', 'charbonnier']
GATES = [None, 'pixel', 'region']


class PSNRLoss(nn.Module):
    """NAFNet's reconstruction loss, written down independently."""

    def __init__(self, loss_weight=1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, pred, target):
        error = (pred - target).square().mean(dim=(1, 2, 3)) + 1e-8
        return self.loss_weight * 10 * torch.log10(error).mean()


class CountingLoss(nn.MSELoss):
    """A loss with parameters and a memory, as users write them."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))
        self.calls = 0

    def forward(self, pred, target):
        assert torch.is_grad_enabled()
        assert pred.dtype == target.dtype == torch.float32
        self.calls += 1
        return self.gain * super().forward(pred, target)


def images(seed=0, shape=(2, 3, 6, 5), **kwargs):
    generator = torch.Generator().manual_seed(seed)
    student, teacher, gt = torch.rand(3, *shape, generator=generator, **kwargs)
    return student.requires_grad_(), teacher, gt


def quarters(size=(6, 5), count=2):
    height, width = size
    rows = torch.arange(height).view(-1, 1) * 2 // height
    columns = torch.arange(width) * 2 // width
    return RegionMap.from_labels((1 + 2 * rows + columns).expand(count, -1, -1))


def gradient(loss, tensor):
    (result,) = torch.autograd.grad(loss, tensor)
    return result


def test_is_registered():
    built = MODELS.module_dict['SPDLoss'](distance='l1', gate=None, loss_weight=0.5)
    student, teacher, gt = images()
    assert isinstance(built, SPDLoss)
    torch.testing.assert_close(
        built(student, teacher, gt), 0.5 * nn.functional.l1_loss(student, teacher)
    )


@pytest.mark.parametrize(
    ('distance', 'reference'),
    [('l1', nn.L1Loss()), ('l2', nn.MSELoss()), ('pixel_loss', nn.SmoothL1Loss(beta=0.1))],
)
def test_distance_equals_torchs_own(distance, reference):
    student, teacher, gt = images()
    loss = SPDLoss(1.0, distance, gate=None)(student, teacher, gt, nn.SmoothL1Loss(beta=0.1))
    torch.testing.assert_close(loss, reference(student, teacher))


def test_charbonnier_equals_formula():
    student, teacher, gt = images()
    loss = SPDLoss(1.0, 'charbonnier', gate=None, eps=0.1)(student, teacher, gt)
    expected = ((student - teacher) ** 2 + 0.01).sqrt().mean() - 0.1
    torch.testing.assert_close(loss, expected)


# The matched distance


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_matched_is_the_squared_error_beside_a_squared_error(reduction):
    student, teacher, gt = images()
    mse = nn.MSELoss(reduction=reduction)
    loss = SPDLoss(1.0, gate=None)(student, teacher, gt, mse)
    torch.testing.assert_close(loss, mse(student, teacher))
    torch.testing.assert_close(gradient(loss, student), gradient(mse(student, teacher), student))


def test_matched_gradient_beside_psnr_loss():
    student, teacher, gt = images()
    loss = SPDLoss(1.0, gate=None)(student, teacher, gt, PSNRLoss())
    given = gradient(loss, student)
    reconstruction = gradient(PSNRLoss()(student, gt), student)
    for image in range(len(student)):
        scale = reconstruction[image].norm() / (student - gt)[image].norm()
        torch.testing.assert_close(given[image], scale * (student - teacher)[image])


@pytest.mark.parametrize('pixel_loss', [nn.MSELoss(), PSNRLoss(), PSNRLoss(7.0)])
def test_matched_total_gradient_points_to_a_mix_of_truth_and_teacher(pixel_loss):
    student, teacher, gt = images()
    weight = 0.3
    total = pixel_loss(student, gt) + SPDLoss(weight, gate=None)(student, teacher, gt, pixel_loss)
    given = gradient(total, student)
    expected = (student - gt) + weight * (student - teacher)
    for image in range(len(student)):
        cosine = torch.cosine_similarity(given[image].flatten(), expected[image].flatten(), dim=0)
        assert cosine > 1 - 1e-5


def test_matched_keeps_its_share_where_fixed_units_would_vanish_or_blow_up():
    """The ratio of both gradients does not depend on how good student and teacher are."""
    student, teacher, gt = images()
    ratios = {'matched': [], 'l1': [], 'pixel_loss': []}
    for closeness in (1.0, 1e-1, 1e-2):
        near = (gt + closeness * (student - gt)).detach().requires_grad_()
        taught = gt + closeness * (teacher - gt)
        reference = gradient(PSNRLoss()(near, gt), near).norm()
        for distance, ratio in ratios.items():
            loss = SPDLoss(1.0, distance, gate=None)(near, taught, gt, PSNRLoss())
            ratio.append((gradient(loss, near).norm() / reference).item())
    assert max(ratios['matched']) / min(ratios['matched']) < 1.05
    assert max(ratios['l1']) / min(ratios['l1']) > 50


def test_matched_is_smooth_at_the_teacher_and_at_the_truth():
    student, _, gt = images()
    loss = SPDLoss(1.0, gate=None)(student, student.detach().clone(), gt, PSNRLoss())
    assert loss == 0
    assert torch.equal(gradient(loss, student), torch.zeros_like(student))
    _, teacher, _ = images()
    perfect = gt.clone().requires_grad_()
    for pixel_loss in (PSNRLoss(), nn.MSELoss(), nn.L1Loss()):
        loss = SPDLoss(1.0, gate=None)(perfect, teacher, gt, pixel_loss)
        assert gradient(loss, perfect).isfinite().all()


def test_matched_is_measured_per_image():
    student, teacher, gt = images()
    loss, pixel_loss = SPDLoss(1.0), nn.MSELoss(reduction='sum')
    both = loss(student, teacher, gt, pixel_loss)
    singles = zip(student.split(1), teacher.split(1), gt.split(1), strict=True)
    alone = sum(loss(*single, pixel_loss) for single in singles)
    torch.testing.assert_close(both, alone)


def test_pixel_loss_is_called_once_with_gradients_and_its_parameters_get_none():
    student, teacher, gt = images()
    pixel_loss = CountingLoss()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        SPDLoss()(student, teacher, gt, pixel_loss).backward()
    assert pixel_loss.calls == 1
    assert pixel_loss.gain.grad is None
    assert student.grad.abs().sum() > 0


def test_works_where_nothing_else_needs_gradients():
    student, teacher, gt = images()
    with torch.no_grad():
        loss = SPDLoss(1.0, gate=None)(student.detach(), teacher, gt, nn.MSELoss())
    torch.testing.assert_close(loss, (student - teacher).square().mean().detach())


# The gates


def between(seed=0):
    """A student strictly between truth and teacher at every pixel."""
    _, teacher, gt = images(seed)
    share = torch.rand(gt.shape, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.1
    return (gt + share * (teacher - gt)).requires_grad_(), teacher, gt


@pytest.mark.parametrize('distance', DISTANCES)
@pytest.mark.parametrize('pixel_loss', [nn.L1Loss(), nn.MSELoss(), PSNRLoss()])
def test_gated_gradient_points_to_the_truth_between_truth_and_teacher(distance, pixel_loss):
    student, teacher, gt = between()
    reconstruction = pixel_loss(student, gt)
    alone = gradient(reconstruction, student)
    total = pixel_loss(student, gt) + SPDLoss(1.0, distance)(student, teacher, gt, pixel_loss)
    given = gradient(total, student)
    torch.testing.assert_close(given, alone)
    assert (given.sign() == (student - gt).sign()).all()


def test_default_gradient_points_to_the_truth_between_truth_and_teacher():
    student, teacher, gt = between()
    for pixel_loss in (nn.L1Loss(), nn.MSELoss(), PSNRLoss()):
        total = pixel_loss(student, gt) + SPDLoss()(student, teacher, gt, pixel_loss)
        assert (gradient(total, student).sign() == (student - gt).sign()).all()


def test_documented_trap_ungated_l1_cancels_the_reconstruction():
    student, teacher, gt = between()
    trap = SPDLoss(loss_weight=1.0, distance='l1', gate=None)
    total = nn.functional.l1_loss(student, gt) + trap(student, teacher, gt)
    assert gradient(total, student).abs().max() < 1e-7


@pytest.mark.parametrize('distance', DISTANCES)
def test_pixel_gate_equals_a_loop(distance):
    student, teacher, gt = images()
    given = gradient(SPDLoss(1.0, distance)(student, teacher, gt, nn.MSELoss()), student)
    for n in range(2):
        for i in range(6):
            for j in range(5):
                mine = (student - gt)[n, :, i, j].abs().mean()
                taught = (teacher - gt)[n, :, i, j].abs().mean()
                assert (given[n, :, i, j].abs().sum() > 0) == (taught < mine)


def test_region_gate_equals_a_loop():
    student, teacher, gt = images()
    labels = torch.randint(0, 4, (2, 6, 5), generator=torch.Generator().manual_seed(1))
    regions = RegionMap.from_labels(labels)
    given = gradient(SPDLoss(1.0, 'l2', 'region')(student, teacher, gt, regions=regions), student)
    is_open = given.abs().sum(dim=1) > 0
    for n in range(2):
        for label in range(1, 4):
            inside = labels[n] == label
            mine = (student - gt)[n][:, inside].square().mean()
            taught = (teacher - gt)[n][:, inside].square().mean()
            assert (is_open[n][inside] == (taught < mine)).all()
        outside = labels[n] == 0
        mine = (student - gt)[n][:, outside].abs().mean(dim=0)
        taught = (teacher - gt)[n][:, outside].abs().mean(dim=0)
        assert torch.equal(is_open[n][outside], taught < mine)
    assert is_open.any()
    assert not is_open.all()


def test_region_gate_without_regions_is_the_pixel_gate():
    student, teacher, gt = images()
    nothing = RegionMap.from_labels(torch.zeros(2, 6, 5, dtype=torch.long))
    by_region = SPDLoss(1.0, gate='region')(student, teacher, gt, nn.MSELoss(), nothing)
    assert torch.equal(by_region, SPDLoss(1.0)(student, teacher, gt, nn.MSELoss()))


@pytest.mark.parametrize('distance', ['matched', 'l1', 'l2', 'charbonnier'])
def test_closed_gate_contributes_exactly_nothing(distance):
    student, _, gt = images()
    worse = student.detach() + 2 * (student.detach() - gt)
    loss = SPDLoss(1.0, distance)(student, worse, gt, nn.MSELoss())
    assert loss.abs() < 1e-9
    assert torch.equal(gradient(loss, student), torch.zeros_like(student))


# Features


def test_feature_loss_equals_formula_and_uses_its_own_layers():
    loss = SPDLoss(feature_layers=['a', 'b'], feature_weight=0.5)
    ours = {name: torch.rand(1, 4, 3, 3, requires_grad=True) for name in 'abc'}
    theirs = {name: (10 * torch.rand(1, 4, 3, 3)).requires_grad_() for name in 'abc'}
    value = loss.feature_loss(ours, theirs)
    expected = sum(
        nn.functional.mse_loss(ours[name], theirs[name]) / theirs[name].var(correction=0)
        for name in 'ab'
    )
    torch.testing.assert_close(value, 0.5 * expected / 2, rtol=1e-5, atol=0)
    value.backward()
    assert ours['a'].grad is not None
    assert ours['c'].grad is None
    assert theirs['a'].grad is None


def test_feature_loss_does_not_depend_on_a_layers_magnitude():
    loss = SPDLoss(feature_layers=['a'], feature_weight=1.0)
    ours, theirs = torch.rand(2, 1, 4, 3, 3)
    small = loss.feature_loss({'a': ours}, {'a': theirs})
    large = loss.feature_loss({'a': 100 * ours}, {'a': 100 * theirs})
    torch.testing.assert_close(small, large, rtol=1e-4, atol=0)


def test_feature_loss_of_constant_features_is_finite():
    ours = torch.ones(1, 4, 3, 3, requires_grad=True)
    loss = SPDLoss(feature_layers=['a'], feature_weight=1.0)
    value = loss.feature_loss({'a': ours}, {'a': torch.zeros(1, 4, 3, 3)})
    assert value.isfinite()
    assert gradient(value, ours).isfinite().all()


def test_feature_loss_errors_name_the_layer():
    loss = SPDLoss(feature_layers=['body.0'], feature_weight=1.0)
    with pytest.raises(ValueError, match=r"'body\.0' differ in shape.*\(1, 4\).*\(1, 5\)"):
        loss.feature_loss({'body.0': torch.rand(1, 4)}, {'body.0': torch.rand(1, 5)})
    with pytest.raises(KeyError, match=r'body\.0'):
        loss.feature_loss({}, {'body.0': torch.rand(1, 5)})
    with pytest.raises(ValueError, match='needs feature_layers'):
        SPDLoss().feature_loss({}, {})


# Everything together


@pytest.mark.parametrize(
    'changed',
    [{'loss_weight': 0.6}, {'gate': None}, {'gate': 'region'}]
    + [{'distance': distance} for distance in DISTANCES if distance != 'charbonnier']
    + [{'eps': 0.5}],
    ids=str,
)
def test_every_argument_changes_the_result(changed):
    student, teacher, gt = images()
    base = {'distance': 'charbonnier'}
    arguments = (student, teacher, gt, PSNRLoss(), quarters())
    assert SPDLoss(**base)(*arguments) != SPDLoss(**{**base, **changed})(*arguments)


def test_feature_arguments_change_the_result():
    features = (
        {name: torch.rand(1, 2, 3, 3) for name in 'ab'},
        {name: torch.rand(1, 2, 3, 3) for name in 'ab'},
    )
    values = {
        SPDLoss(feature_layers=layers, feature_weight=weight).feature_loss(*features).item()
        for layers, weight in ((('a',), 1.0), (('a',), 2.0), (('a', 'b'), 1.0))
    }
    assert len(values) == 3


@pytest.mark.parametrize('distance', DISTANCES)
@pytest.mark.parametrize('gate', GATES)
def test_finite_for_degenerate_images(distance, gate):
    loss = SPDLoss(1.0, distance, gate)
    zeros, ones = torch.zeros(2, 3, 6, 5), torch.ones(2, 3, 6, 5)
    one_pixel = torch.zeros(2, 6, 5, dtype=torch.long)
    one_pixel[0, 1, 1] = 3
    for labels in (one_pixel, torch.zeros_like(one_pixel), torch.ones_like(one_pixel)):
        for teacher, gt in ((zeros, zeros), (ones, zeros), (zeros, ones)):
            student = zeros.clone().requires_grad_()
            regions = RegionMap.from_labels(labels)
            value = loss(student, teacher, gt, PSNRLoss(), regions)
            assert value.isfinite()
            assert gradient(value, student).isfinite().all()


@pytest.mark.parametrize('distance', DISTANCES)
def test_half_precision_is_computed_in_float32(distance):
    student, teacher, gt = (image.detach().bfloat16() for image in images())
    student.requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = SPDLoss(1.0, distance)(student, teacher, gt, nn.MSELoss())
    reference = SPDLoss(1.0, distance)(student.float(), teacher.float(), gt.float(), nn.MSELoss())
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, reference)
    assert gradient(value, student).isfinite().all()


@pytest.mark.parametrize('distance', ['pixel_loss', 'l1', 'l2', 'charbonnier'])
@pytest.mark.parametrize('gate', GATES)
def test_gradcheck(distance, gate):
    student, teacher, gt = images(shape=(2, 1, 3, 2), dtype=torch.float64)
    regions = quarters((3, 2))
    loss = SPDLoss(1.0, distance, gate)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher, gt, nn.MSELoss(), regions), student)


def test_gradient_reaches_the_student_alone():
    student, teacher, gt = images()
    teacher.requires_grad_()
    gt.requires_grad_()
    SPDLoss()(student, teacher, gt, nn.MSELoss()).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    assert gt.grad is None


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'distance': 'l3'}, "distance='l3' is not one of"),
        ({'gate': 'image'}, "gate='image' is not one of"),
        ({'loss_weight': -1}, 'at least 0'),
        ({'eps': 0}, 'eps=0 must be a number above 0'),
        ({'feature_layers': 'body'}, 'sequence of names'),
        ({'feature_layers': ('body',)}, 'belong together'),
        ({'feature_weight': 1.0}, 'belong together'),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SPDLoss(**arguments)


def test_refuses_bad_inputs():
    student, teacher, gt = images()
    with pytest.raises(ValueError, match='one shape'):
        SPDLoss()(student, teacher[..., 1:], gt, nn.MSELoss())
    with pytest.raises(ValueError, match="distance='matched' needs pixel_loss"):
        SPDLoss()(student, teacher, gt)
    with pytest.raises(ValueError, match="gate='region' needs regions"):
        SPDLoss(gate='region')(student, teacher, gt, nn.MSELoss())
    with pytest.raises(ValueError, match='a scalar is needed'):
        SPDLoss()(student, teacher, gt, nn.MSELoss(reduction='none'))
