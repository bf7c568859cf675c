"""SPFHead: identity when untrained, blind to labels, and better off with regions."""

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from torch import nn

from mmsamdistill.cascade.spf_head import (
    PRIORS,
    RegionContext,
    SPFHead,
    colour_prior,
    prior_channels,
    prior_maps,
    size_prior,
)
from mmsamdistill.regions.region_map import RegionMap

MAPS = ['colour', 'boundary', 'size']


def trained(seed=0, **kwargs):
    """A head whose last convolution is no longer zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = SPFHead(**{'channels': 8, **kwargs})
        nn.init.normal_(head.tail.weight, std=0.1)
    return head


def image_of(shape=(2, 3, 9, 7), seed=0, **kwargs):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), **kwargs)


def random_labels(shape=(2, 9, 7), seed=0, count=5):
    return torch.randint(0, count + 1, shape, generator=torch.Generator().manual_seed(seed))


def one_pixel():
    labels = torch.zeros(2, 9, 7, dtype=torch.long)
    labels[0, 4, 3] = 1
    return labels


LABELS = {
    'none': torch.zeros(2, 9, 7, dtype=torch.long),
    'one': torch.ones(2, 9, 7, dtype=torch.long),
    'one pixel': one_pixel(),
    'each pixel': torch.arange(1, 64).view(1, 9, 7).expand(2, -1, -1),
    'many': random_labels(),
}


# The priors


def test_colour_prior_equals_a_loop():
    image, labels = image_of(), random_labels()
    prior = colour_prior(image, RegionMap.from_labels(labels), eps=0.0).numpy()
    for n in range(2):
        for label in range(6):
            inside = (labels[n] == label).numpy()
            colours = image[n].numpy()[:, inside]
            given = prior[n][:, inside]
            if label == 0:
                assert not given.any()
                continue
            mean = colours.mean(axis=1, keepdims=True)
            spread = np.broadcast_to(colours.std(axis=1, keepdims=True), colours.shape)
            expected = [np.broadcast_to(mean, colours.shape), mean - colours, spread]
            np.testing.assert_allclose(given, np.concatenate(expected), atol=1e-6)


def test_mean_of_a_tight_region_is_a_denoised_estimate():
    labels = (torch.arange(32) // 8 + 1).expand(1, 32, 32)
    clean = (labels / 8.0).unsqueeze(1).expand(1, 3, 32, 32)
    noisy = clean + 0.2 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    regions = RegionMap.from_labels(labels)
    mean, offset, spread = colour_prior(noisy, regions).split(3, dim=1)
    reliability = size_prior(regions)[:, 1:]
    torch.testing.assert_close(noisy + offset, mean)
    # The error of the mean is what the spread and the reliability together predict.
    ratio = (mean - clean).square().mean().sqrt() / (spread * reliability).mean()
    assert 0.5 < ratio < 1.5


def test_size_prior_by_hand():
    labels = torch.tensor([[[1, 1, 1, 1, 0, 2]]])
    relative, reliability = size_prior(RegionMap.from_labels(labels))[0, :, 0]
    expected = [np.log(5) / np.log(7)] * 4 + [0.0, np.log(2) / np.log(7)]
    np.testing.assert_allclose(relative.numpy(), expected, rtol=1e-6)
    assert reliability.tolist() == [0.5] * 4 + [0.0, 1.0]


def test_size_prior_of_one_pixel_image_is_finite():
    assert size_prior(RegionMap.from_labels(torch.ones(1, 1, 1).long())).flatten().tolist() == [
        1,
        1,
    ]


def test_boundary_and_inside_by_hand():
    regions = RegionMap.from_labels(torch.tensor([[[3, 3, 3, 0, 0]]]))
    inside, boundary = prior_maps(torch.zeros(1, 3, 1, 5), regions, ['boundary'])[0, :, 0]
    assert boundary.tolist() == [0, 0, 1, 1, 0]
    assert inside.tolist() == [1, 1, 1, 0, 0]


@pytest.mark.parametrize('priors', [(), ('colour',), ('boundary', 'size'), tuple(MAPS), PRIORS])
def test_prior_channels_counts_prior_maps(priors):
    maps = prior_maps(image_of(), RegionMap.from_labels(random_labels()), priors)
    assert maps.shape == (2, prior_channels(3, priors), 9, 7)
    assert maps.dtype == torch.float32


def test_prior_maps_do_not_depend_on_the_order_of_names():
    regions = RegionMap.from_labels(random_labels())
    assert torch.equal(
        prior_maps(image_of(), regions, MAPS), prior_maps(image_of(), regions, MAPS[::-1])
    )


@pytest.mark.parametrize('labels', LABELS)
@pytest.mark.parametrize('value', [0.0, 0.5])
def test_prior_of_flat_images_has_finite_gradients(labels, value):
    image = torch.full((2, 3, 9, 7), value, requires_grad=True)
    colour_prior(image, RegionMap.from_labels(LABELS[labels])).square().sum().backward()
    assert image.grad.isfinite().all()


@pytest.mark.parametrize('labels', LABELS)
def test_prior_gradcheck(labels):
    image = image_of((2, 1, 9, 7), dtype=torch.float64).requires_grad_()
    regions = RegionMap.from_labels(LABELS[labels])
    assert torch.autograd.gradcheck(lambda x: colour_prior(x, regions), image, fast_mode=True)


def test_context_is_shared_by_a_region_and_absent_outside():
    labels = random_labels()
    context = RegionContext(8)(image_of((2, 8, 9, 7)), RegionMap.from_labels(labels))
    for n in range(2):
        assert not context[n][:, labels[n] == 0].any()
        for label in range(1, 6):
            inside = context[n][:, labels[n] == label]
            assert (inside == inside[:, :1]).all()
            assert inside.any()


# The head


@pytest.mark.parametrize('labels', LABELS)
def test_untrained_is_exactly_the_identity(labels):
    image = image_of() * 4 - 2
    assert torch.equal(SPFHead()(image, RegionMap.from_labels(LABELS[labels])), image)


def test_renaming_labels_changes_nothing():
    head, image, labels = trained(), image_of(), random_labels()
    renamed = torch.tensor([0, 900, 4, 77, 31, 2])[labels]
    assert not torch.equal(head(image, labels), image)
    torch.testing.assert_close(head(image, labels), head(image, renamed), rtol=0, atol=1e-6)


def test_regions_matter_and_far_parts_of_a_region_are_heard():
    head, image = trained(depth=1), image_of((1, 3, 9, 40))
    labels = random_labels((1, 9, 40))
    assert not torch.allclose(head(image, labels), head(image, labels.flip(-1)), atol=1e-4)
    halves = torch.ones(1, 9, 40, dtype=torch.long)
    halves[..., 20:] = 2
    changed = image.clone()
    changed[..., -1] += 1
    effect = (head(changed, halves) - head(image, halves)).abs().amax(dim=(0, 1, 2))
    assert effect[20:].min() > 1e-5  # the whole region
    assert effect[:15].max() < 1e-6  # not the other one


def test_images_of_a_batch_do_not_mix():
    head, image, labels = trained(), image_of(), random_labels()
    alone = [head(image[i : i + 1], labels[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(head(image, labels), torch.cat(alone), rtol=0, atol=1e-6)


def test_every_argument_changes_the_result():
    image, labels = image_of(), random_labels()
    changes = [
        {},
        {'channels': 6},
        {'depth': 1},
        *({'priors': [p]} for p in PRIORS),
        {'priors': []},
    ]
    values = {trained(**change)(image, labels).sum().item() for change in changes}
    assert len(values) == len(changes)
    assert trained(in_channels=1)(image[:, :1], labels).shape == (2, 1, 9, 7)


@pytest.mark.parametrize('prior', PRIORS)
def test_each_prior_brings_its_regions_in(prior):
    """With one prior alone the result still depends on how the image is divided."""
    head, image = trained(priors=[prior]), image_of()
    labels = torch.ones(2, 9, 7, dtype=torch.long)
    divided = labels.clone()
    divided[:, :5] += 1
    assert not torch.allclose(head(image, labels), head(image, divided), atol=1e-5)


def test_without_priors_only_being_inside_counts():
    head, image = trained(priors=()), image_of()
    labels = random_labels()
    assert torch.equal(head(image, labels), head(image, labels.clamp(max=1)))
    assert not torch.allclose(head(image, labels), head(image, labels * 0), atol=1e-5)


@pytest.mark.parametrize('labels', LABELS)
@pytest.mark.parametrize('kind', ['random', 'constant'])
def test_every_parameter_gets_a_finite_gradient(labels, kind):
    image = image_of() if kind == 'random' else torch.full((2, 3, 9, 7), 0.5)
    for head in (trained(), SPFHead(channels=8)):
        head(image, LABELS[labels]).square().mean().backward()
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_gradient_reaches_everything_once_trained():
    head, image = trained(), image_of().requires_grad_()
    head(image, random_labels()).square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())
    assert image.grad.abs().sum() > 0


@pytest.mark.parametrize('labels', LABELS)
def test_autocast_is_finite_and_close(labels):
    head, image = trained(), image_of().requires_grad_()
    expected = head(image, LABELS[labels])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        output = head(image, LABELS[labels])
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, expected, rtol=0, atol=0.05)
    output.sum().backward()
    assert image.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_whole_head_in_another_dtype(dtype):
    output = trained().to(dtype)(image_of().to(dtype), random_labels())
    assert output.dtype == dtype
    assert output.isfinite().all()


def test_gradcheck():
    head = trained(channels=2, depth=1).double()
    image = image_of((1, 3, 3, 3), dtype=torch.float64).requires_grad_()
    labels = torch.tensor([[[1, 1, 2], [1, 2, 2], [0, 0, 3]]])
    assert torch.autograd.gradcheck(lambda x: head(x, labels), image)


@pytest.mark.parametrize('size', [(1, 1), (1, 5), (17, 4)])
def test_any_size(size):
    image, labels = image_of((1, 3, *size)), random_labels((1, *size))
    assert trained()(image, labels).shape == image.shape


def test_learns_to_use_regions():
    """On noisy flat patches, the same head with the true regions ends well below one without."""

    def final_error(with_regions):
        generator = torch.Generator().manual_seed(0)
        head = SPFHead(channels=8, depth=1)
        head.load_state_dict(trained(depth=1).state_dict())
        nn.init.zeros_(head.tail.weight)
        optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
        labels = (torch.arange(16).view(-1, 1) // 8 * 2 + torch.arange(16) // 8 + 1).expand(
            4, -1, -1
        )
        errors = []
        for _ in range(60):
            clean = torch.rand(4, 3, 2, 2, generator=generator)
            clean = clean.repeat_interleave(8, 2).repeat_interleave(8, 3)
            noisy = clean + 0.3 * torch.randn(clean.shape, generator=generator)
            loss = (head(noisy, labels * with_regions) - clean).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            errors.append(loss.item())
        return np.mean(errors[-10:])

    with_regions, without = final_error(True), final_error(False)
    assert without < 0.09  # the noise: both learn
    assert with_regions < 0.6 * without


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'channels': 0}, 'at least 1'),
        ({'depth': 0}, 'at least 1'),
        ({'in_channels': 0}, 'at least 1'),
        ({'priors': ('colour', 'shape')}, "out of .*'colour', 'feature'"),
        ({'priors': 'size'}, 'sequence of names'),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SPFHead(**arguments)


def test_refuses_images_that_do_not_fit():
    with pytest.raises(ValueError, match=r'\(2, 3, 9, 7\).*got \(2, 3, 9, 8\)'):
        SPFHead()(image_of((2, 3, 9, 8)), random_labels())
    with pytest.raises(ValueError, match=r'got \(2, 1, 9, 7\)'):
        SPFHead()(image_of((2, 1, 9, 7)), random_labels())


def test_is_registered():
    assert MODELS.module_dict['SPFHead'] is SPFHead


def test_grey_images_are_told_which_key_to_set():
    regions = RegionMap.from_labels(torch.ones(1, 8, 8, dtype=torch.long))
    image = torch.rand(1, 1, 8, 8)
    with pytest.raises(ValueError, match=r'got \(1, 1, 8, 8\); .* spf=dict\(in_channels=1\)'):
        SPFHead(channels=4, depth=1)(image, regions)
    assert SPFHead(in_channels=1, channels=4, depth=1)(image, regions).shape == image.shape


@pytest.mark.slow  # compiles
def test_one_graph_whatever_the_number_of_regions():
    head = trained()
    torch._dynamo.reset()
    compiled = torch.compile(head, fullgraph=True, backend='eager')
    for count in (5, 0):
        regions = RegionMap.from_labels(random_labels(count=count))
        assert torch.equal(compiled(image_of(), regions), head(image_of(), regions))
