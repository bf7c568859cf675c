"""SGRLoss against a loop, at its edges, and the meaning of each argument."""

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS

from mmsamdistill.losses import FeatureLoss, SGRLoss
from mmsamdistill.losses.sgr import (
    connected_zero,
    relation_loss,
    relation_matrix,
    unit_vectors,
)
from mmsamdistill.regions.region_map import RegionMap

FORMS = ['prototypes', 'pixel_to_prototype']


def features(seed, *shapes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator, dtype=dtype) for shape in shapes]


def random_labels(seed=0, shape=(2, 8, 8), count=4):
    return torch.randint(0, count + 1, shape, generator=torch.Generator().manual_seed(seed))


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def loop(ours, theirs, labels, form='prototypes', min_mass=1.0):
    """The definition, one region, cell and pair at a time; features at the labels' resolution."""
    ours, theirs, labels = ours.double().numpy(), theirs.double().numpy(), labels.numpy()
    per_image = []
    for mine, taught, own_labels in zip(ours, theirs, labels, strict=True):
        names = [k for k in np.unique(own_labels) if k and (own_labels == k).sum() >= min_mass]
        p = [mine[:, own_labels == k].mean(axis=1) for k in names]
        q = [taught[:, own_labels == k].mean(axis=1) for k in names]
        if form == 'prototypes':
            pairs = [(j, k) for j in range(len(p)) for k in range(len(p)) if j != k]
            terms = [abs(cosine(p[j], p[k]) - cosine(q[j], q[k])) for j, k in pairs]
        else:
            cells = [(i, j) for i in range(mine.shape[1]) for j in range(mine.shape[2])]
            terms = [
                abs(cosine(mine[:, i, j], p[k]) - cosine(taught[:, i, j], q[k]))
                for i, j in cells
                for k in range(len(p))
            ]
        per_image.append(np.mean(terms) if terms else 0.0)
    return np.mean(per_image)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('min_mass', [0.0, 12.0])
def test_equals_a_loop(form, min_mass):
    (ours,), (theirs,) = features(1, (2, 5, 8, 8)), features(2, (2, 5, 8, 8))
    labels = random_labels()
    loss = SGRLoss(1.0, form, min_mass)([ours], [theirs], RegionMap.from_labels(labels))
    assert loss.item() == pytest.approx(loop(ours, theirs, labels, form, min_mass), abs=1e-6)
    assert loss > 0


def test_coarse_features_equal_prototypes_of_upsampled_features():
    """Mean of a cell's feature by membership is the mean over pixels of the repeated feature."""
    (ours,), (theirs,) = features(1, (2, 5, 4, 4)), features(2, (2, 5, 4, 4))
    labels = random_labels()
    loss = SGRLoss(1.0)([ours], [theirs], RegionMap.from_labels(labels))
    wide = [x.repeat_interleave(2, 2).repeat_interleave(2, 3) for x in (ours, theirs)]
    assert loss.item() == pytest.approx(loop(*wide, labels), abs=1e-6)


def test_value_by_hand():
    # Two regions: orthogonal for the student, at 60 degrees for the teacher.
    regions = RegionMap.from_labels(torch.tensor([[[1, 2]]]))
    ours = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    theirs = torch.tensor([[[[1.0, 0.5]], [[0.0, 0.75**0.5]]]])
    assert SGRLoss(1.0)([ours], [theirs], regions).item() == pytest.approx(0.5, abs=1e-6)
    assert SGRLoss(0.1)([ours], [theirs], regions).item() == pytest.approx(0.05, abs=1e-6)


def test_is_registered_and_takes_plain_labels():
    labels = random_labels()
    ours, theirs = features(1, (2, 5, 4, 4)), features(2, (2, 5, 4, 4))
    built = MODELS.module_dict['SGRLoss'](loss_weight=2.0)
    assert torch.equal(
        built(ours, theirs, labels), SGRLoss(2.0)(ours, theirs, RegionMap.from_labels(labels))
    )


@pytest.mark.parametrize('form', FORMS)
def test_renaming_labels_changes_nothing(form):
    labels = random_labels()
    renamed = torch.tensor([0, 700, 3, 90, 41])[labels]
    ours, theirs = features(1, (2, 5, 4, 4)), features(2, (2, 5, 4, 4))
    loss = SGRLoss(1.0, form)
    torch.testing.assert_close(loss(ours, theirs, labels), loss(ours, theirs, renamed))


def test_only_regions_of_the_same_image_are_related():
    labels = random_labels()
    ours, theirs = features(1, (2, 5, 8, 8)), features(2, (2, 5, 8, 8))
    both = SGRLoss(1.0)(ours, theirs, labels)
    alone = [
        SGRLoss(1.0)([ours[0][i : i + 1]], [theirs[0][i : i + 1]], labels[i : i + 1])
        for i in range(2)
    ]
    torch.testing.assert_close(both, torch.stack(alone).mean())


@pytest.mark.parametrize('form', FORMS)
def test_every_argument_changes_the_result(form):
    labels = random_labels()
    shapes = (2, 5, 8, 8), (2, 7, 4, 4)
    ours, theirs = features(1, *shapes), features(2, *shapes)
    base = {'loss_weight': 1.0, 'form': form}
    other = FORMS[1 - FORMS.index(form)]
    changes = [
        {},
        {'loss_weight': 0.5},
        {'form': other},
        {'min_mass': 11.0},
        {'max_regions': 2},
        {'layer_weights': (1.0, 3.0)},
        {'eps': 0.5},
    ]
    values = {SGRLoss(**{**base, **change})(ours, theirs, labels).item() for change in changes}
    assert len(values) == len(changes)


def test_max_regions_keeps_the_largest():
    labels = torch.tensor([[[1, 1, 1, 2, 2, 2, 2, 3]]])
    ours, theirs = features(1, (1, 5, 1, 8)), features(2, (1, 5, 1, 8))
    without_third = labels.masked_fill(labels == 3, 0)
    expected = SGRLoss(1.0)(ours, theirs, without_third)
    torch.testing.assert_close(SGRLoss(1.0, max_regions=2)(ours, theirs, labels), expected)


def test_layer_weights_make_a_weighted_mean():
    labels = random_labels()
    shapes = (2, 5, 8, 8), (2, 7, 4, 4)
    ours, theirs = features(1, *shapes), features(2, *shapes)
    first, second = (SGRLoss(1.0)([a], [b], labels) for a, b in zip(ours, theirs, strict=True))
    mean = SGRLoss(1.0)(ours, theirs, labels)
    weighted = SGRLoss(1.0, layer_weights=(1, 3))(ours, theirs, labels)
    torch.testing.assert_close(mean, (first + second) / 2)
    torch.testing.assert_close(weighted, (first + 3 * second) / 4)


def test_thousands_of_regions():
    labels = torch.arange(1, 64 * 64 + 1).view(1, 64, 64)
    (ours,), (theirs,) = features(1, (1, 4, 64, 64)), features(2, (1, 4, 64, 64))
    ours.requires_grad_()
    loss = SGRLoss(1.0, max_regions=None)([ours], [theirs], labels)
    loss.backward()
    assert 0 < loss < 1
    assert ours.grad.isfinite().all()


# Edges


def one_pixel():
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    labels[0, 2, 2], labels[0, 5, 6], labels[1, 0, 0] = 1, 2, 1
    return labels


LABELS = {
    'none': torch.zeros(2, 8, 8, dtype=torch.long),
    'one': torch.ones(2, 8, 8, dtype=torch.long),
    'one in the first image only': torch.stack([random_labels()[0], torch.zeros(8, 8).long()]),
    'one pixel': one_pixel(),
    'many': random_labels(),
}
IMAGES = {
    'random': features(1, (2, 5, 4, 4))[0],
    'zero': torch.zeros(2, 5, 4, 4),
    'constant': torch.full((2, 5, 4, 4), 0.3),
    'negative': -features(3, (2, 5, 4, 4))[0],
    'huge': 1e15 * features(3, (2, 5, 4, 4))[0],
    'tiny': 1e-15 * features(3, (2, 5, 4, 4))[0],
}


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('labels', LABELS)
@pytest.mark.parametrize('student', IMAGES)
def test_values_and_gradients_are_finite(form, labels, student):
    for min_mass in (0.0, 1.0):
        for target in IMAGES.values():
            ours = IMAGES[student].clone().requires_grad_()
            loss = SGRLoss(1.0, form, min_mass)([ours], [target], LABELS[labels])
            loss.backward()
            assert loss.isfinite()
            assert ours.grad.isfinite().all()


@pytest.mark.parametrize('form', FORMS)
def test_identical_images_give_zero_and_no_gradient(form):
    ours = features(1, (2, 5, 4, 4))[0].requires_grad_()
    loss = SGRLoss(1.0, form)([ours], [ours.detach().clone()], random_labels())
    loss.backward()
    assert loss == 0
    assert torch.equal(ours.grad, torch.zeros_like(ours))


@pytest.mark.parametrize('labels', ['none', 'one'])
def test_too_few_regions_give_a_connected_zero(labels):
    shapes = (2, 5, 8, 8), (2, 7, 4, 4)
    ours = [x.requires_grad_() for x in features(1, *shapes)]
    loss = SGRLoss(1.0)(ours, features(2, *shapes), LABELS[labels])
    loss.backward()
    assert loss == 0
    assert all(torch.equal(x.grad, torch.zeros_like(x)) for x in ours)


def test_an_image_without_regions_counts_as_zero_in_the_mean():
    labels = random_labels()
    ours, theirs = features(1, (2, 5, 8, 8)), features(2, (2, 5, 8, 8))
    first = SGRLoss(1.0)([ours[0][:1]], [theirs[0][:1]], labels[:1])
    labels[1] = 0
    torch.testing.assert_close(SGRLoss(1.0)(ours, theirs, labels), first / 2)


def test_min_mass_is_counted_in_cells():
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, :4, :4], labels[:, 4:, 4:], labels[:, 0, 7] = 1, 2, 3
    ours, theirs = features(1, (1, 5, 4, 4)), features(2, (1, 5, 4, 4))
    without_third = labels.masked_fill(labels == 3, 0)
    loss = SGRLoss(1.0, min_mass=1.0)(ours, theirs, labels)
    torch.testing.assert_close(loss, SGRLoss(1.0, min_mass=0.0)(ours, theirs, without_third))
    assert loss != SGRLoss(1.0, min_mass=0.25)(ours, theirs, labels)


@pytest.mark.parametrize('form', FORMS)
def test_half_precision_is_computed_in_float32(form):
    ours, theirs = (x.bfloat16() for x in features(1, (2, 5, 4, 4), (2, 5, 4, 4)))
    ours.requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = SGRLoss(1.0, form)([ours], [theirs], random_labels())
    loss.backward()
    assert loss.dtype == torch.float32
    assert ours.grad.isfinite().all()
    reference = SGRLoss(1.0, form)([ours.float()], [theirs.float()], random_labels())
    torch.testing.assert_close(loss, reference)


@pytest.mark.parametrize('form', FORMS)
def test_gradcheck(form):
    ours, theirs = features(1, (2, 3, 2, 2), (2, 3, 2, 2), dtype=torch.float64)
    ours.requires_grad_()
    labels = random_labels(shape=(2, 4, 4), count=3)
    loss = SGRLoss(1.0, form)
    assert torch.autograd.gradcheck(lambda x: loss([x], [theirs], labels), ours)


def test_targets_get_no_gradient():
    ours, theirs = (x.requires_grad_() for x in features(1, (2, 5, 4, 4), (2, 5, 4, 4)))
    SGRLoss()([ours], [theirs], random_labels()).backward()
    assert ours.grad.abs().sum() > 0
    assert theirs.grad is None


# The pure functions


def test_relation_matrix_equals_torchs_cosine():
    prototypes = features(1, (6, 5))[0]
    expected = torch.cosine_similarity(prototypes.unsqueeze(1), prototypes.unsqueeze(0), dim=-1)
    torch.testing.assert_close(relation_matrix(prototypes), expected, rtol=0, atol=1e-5)


def test_unit_vector_of_zero_has_a_finite_gradient_where_the_norm_has_none():
    zero = torch.zeros(3, requires_grad=True)
    unit_vectors(zero).sum().backward()
    assert zero.grad.isfinite().all()


def test_diagonal_takes_no_part():
    two, target = features(1, (1, 2, 5), (1, 2, 5))
    difference = relation_matrix(two)[:, 0, 1] - relation_matrix(target)[:, 0, 1]
    torch.testing.assert_close(relation_loss(two, target, torch.tensor([2])), difference.abs())


def test_a_prototype_of_zero_is_not_compared_with_itself():
    # The student's first region is dark: its cosine with itself is 0, the teacher's is 1.
    dark = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])
    bright = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    assert relation_loss(dark, bright, torch.tensor([2])).item() == pytest.approx(0, abs=1e-6)


def test_a_region_too_small_to_count_may_hold_anything():
    """Neither value nor gradient of the others change, though all lie in one table."""
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    labels[0, :4], labels[0, 4:7], labels[1, :2], labels[1, 7, 7] = 1, 2, 1, 2
    (ours,), (theirs,) = features(1, (2, 5, 8, 8)), features(2, (2, 5, 8, 8))
    broken = ours.clone()
    broken[1, :, 7, 7] = float('nan')
    results = []
    for image in (ours, broken):
        image.requires_grad_()
        loss = SGRLoss(1.0, min_mass=2.0)([image], [theirs], labels)
        loss.backward()
        results.append((loss.detach(), image.grad[0]))
    assert results[0][0] > 0
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.slow  # compiles
@pytest.mark.parametrize('form', FORMS)
def test_one_graph_once_memberships_are_known(form):
    """What depends on data is said by the region map; the rest a compiler takes whole."""
    loss = SGRLoss(1.0, form, max_regions=3)
    torch.compiler.reset()
    compiled = torch.compile(loss, backend='eager', fullgraph=True)
    for seed, count in ((0, 4), (1, 6)):
        regions = RegionMap.from_labels(random_labels(seed, count=count))
        ours, theirs = features(1, (2, 5, 4, 4)), features(2, (2, 5, 4, 4))
        assert regions.membership((4, 4)) is regions.membership((4, 4))
        assert regions.most_in_an_image == count
        value = compiled(ours, theirs, regions)
        torch.testing.assert_close(value, loss(ours, theirs, regions))
        assert value > 0


def test_connected_zero_is_zero_for_any_value():
    tensor = torch.tensor([float('nan'), float('inf')], requires_grad=True)
    zero = connected_zero(tensor)
    zero.backward()
    assert zero == 0
    assert tensor.grad.tolist() == [0, 0]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'form': 'pairs'}, "form='pairs' is not one of"),
        ({'loss_weight': -1}, 'at least 0'),
        ({'min_mass': -1}, 'at least 0'),
        ({'eps': 0}, 'eps=0 must be a number above 0'),
        ({'max_regions': 1}, 'at least 2'),
        ({'layer_weights': (0, 0)}, 'layer_weights'),
        ({'layer_weights': ()}, 'layer_weights'),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SGRLoss(**arguments)


def test_refuses_bad_inputs():
    ours, theirs = features(1, (2, 5, 4, 4), (2, 5, 4, 4))
    labels = random_labels()
    with pytest.raises(ValueError, match='got 1 layers of features and 2 of targets'):
        SGRLoss()([ours], [theirs, theirs], labels)
    with pytest.raises(ValueError, match='at least one'):
        SGRLoss()([], [], labels)
    with pytest.raises(ValueError, match='layer_weights'):
        SGRLoss(layer_weights=(1, 2))([ours], [theirs], labels)
    with pytest.raises(ValueError, match='layer 0: features'):
        SGRLoss()([ours], [theirs[:, 1:]], labels)
    with pytest.raises(ValueError, match='features of 1 images beside regions of 2'):
        SGRLoss()([ours[:1]], [theirs[:1]], labels)


def test_features_alone_in_units_of_their_variance_by_the_mean_over_layers():
    shapes = ((2, 5, 4, 4), (2, 3, 2, 2))
    ours, theirs = features(1, *shapes), features(2, *shapes)
    theirs[1] = 7 * theirs[1]
    parts = [
        np.square(a - b).mean() / b.var()
        for a, b in zip(*([x.numpy() for x in each] for each in (ours, theirs)), strict=True)
    ]
    for each in (*ours, *theirs):
        each.requires_grad_()
    loss = MODELS.build({'type': 'FeatureLoss', 'loss_weight': 0.5})(ours, theirs)
    assert loss.item() == pytest.approx(0.5 * np.mean(parts), rel=1e-4)
    loss.backward()
    assert all(each.grad.any() for each in ours)
    assert all(each.grad is None for each in theirs)
    with pytest.raises(ValueError, match="target='student' is not one of"):
        FeatureLoss(target='student')
