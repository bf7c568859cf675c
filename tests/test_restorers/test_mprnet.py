import pytest
import torch
from mmagic.registry import MODELS
from torch import nn
from torch.nn import functional as F

from mmsamdistill.deploy.cost import count_parameters
from mmsamdistill.restorers import MPRNet
from mmsamdistill.weights import load_plain


def tiny(**options):
    torch.manual_seed(0)
    sizes = {'mid_channels': 4, 'unet_growth': 2, 'full_growth': 2, 'num_blocks': 1}
    return MPRNet(**{**sizes, **options}).eval()


# Counted in the official code, whose outputs ours equal but for rounding on random weights.
@pytest.mark.parametrize(
    ('options', 'count'),
    [((40, 20, 16), 3_637_249), ((96, 48, 32), 20_127_073), ((80, 48, 32), 15_741_025)],
)
def test_published_sizes(options, count):
    with torch.device('meta'):
        assert count_parameters(MPRNet(*options)) == count


def test_parameters_have_the_official_names_and_shapes():
    with torch.device('meta'):
        shapes = {key: tuple(value.shape) for key, value in MPRNet().state_dict().items()}
    assert len(shapes) == 316
    expected = {
        'shallow_feat1.0.weight': (40, 3, 3, 3),
        'shallow_feat3.1.CA.conv_du.0.weight': (10, 40, 1, 1),
        'shallow_feat3.1.body.1.weight': (1,),
        'stage1_encoder.encoder_level3.1.body.2.weight': (80, 80, 3, 3),
        'stage1_encoder.down12.down.1.weight': (60, 40, 1, 1),
        'stage2_encoder.csff_dec3.weight': (80, 80, 1, 1),
        'stage2_decoder.up32.up.1.weight': (60, 80, 1, 1),
        'stage2_decoder.skip_attn2.CA.conv_du.2.weight': (60, 15, 1, 1),
        'stage3_orsnet.orb3.body.7.body.0.weight': (56, 56, 3, 3),
        'stage3_orsnet.orb3.body.8.weight': (56, 56, 3, 3),
        'stage3_orsnet.up_enc2.0.up.1.weight': (60, 80, 1, 1),
        'stage3_orsnet.conv_dec2.weight': (56, 40, 1, 1),
        'sam23.conv3.weight': (40, 3, 1, 1),
        'concat23.weight': (56, 80, 3, 3),
        'tail.weight': (3, 56, 3, 3),
    }
    assert expected.items() <= shapes.items()
    assert not [key for key in shapes if key.startswith('stage1_encoder.csff')]


def test_all_blocks_share_one_slope():
    slopes = {id(module) for module in tiny().modules() if isinstance(module, nn.PReLU)}
    assert len(slopes) == 1


def test_official_checkpoint_loads_completely():
    # As the official training saves it from several GPUs.
    official, network = tiny(), tiny()
    with torch.no_grad():
        for parameter in official.parameters():
            parameter.add_(0.1)
    weights = {f'module.{key}': value for key, value in official.state_dict().items()}
    load_plain(network, {'epoch': 3, 'state_dict': weights, 'optimizer': {'state': {}}})
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(network(image), official(image))


def test_stages_are_residual_images_and_the_last_is_deployed():
    network, image = tiny(), torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        stages = network.forward_stages(image)
        assert torch.equal(network(image), stages[2])
        assert not torch.allclose(stages[0], stages[1])
        for module in (network.sam12.conv2, network.sam23.conv2, network.tail):
            module.weight.zero_()
        for stage in network.forward_stages(image):
            assert torch.equal(stage, image)


@pytest.mark.parametrize(('stage', 'seen'), [(0, 'half'), (1, 'whole'), (2, 'whole')])
def test_how_far_a_stage_sees(stage, seen):
    # Channel attention averages over all that a stage sees; the first one's decoder sees halves.
    network, image = tiny(), torch.rand(1, 3, 16, 16, requires_grad=True)
    network.forward_stages(image)[stage][0, :, 0, 0].sum().backward()
    reached = image.grad.abs().sum(dim=1)[0]
    assert (reached[:8] > 0).any()
    assert (reached[8:] > 0).any() == (seen == 'whole')


def test_halves_and_quarters_are_encoded_apart():
    network, image = tiny(), torch.rand(2, 3, 16, 16)
    seen = []
    network.shallow_feat1.register_forward_hook(lambda m, inputs, output: seen.append(inputs[0]))
    network.shallow_feat2.register_forward_hook(lambda m, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        network(image)
    quarters, halves = seen
    assert torch.equal(halves, torch.cat([image[..., :8, :], image[..., 8:, :]]))
    corners = [image[..., y : y + 8, x : x + 8] for x in (0, 8) for y in (0, 8)]
    assert torch.equal(quarters, torch.cat(corners))


def test_images_of_a_batch_do_not_mix():
    network, images = tiny().double(), torch.rand(3, 3, 16, 24).double()
    with torch.no_grad():
        together = network.forward_stages(images)
        for index in range(3):
            alone = network.forward_stages(images[index : index + 1])
            for one, all_of_them in zip(alone, together, strict=True):
                assert torch.allclose(one[0], all_of_them[index], atol=1e-12)


def test_other_sizes_are_reflected_up_to_a_multiple():
    network, image = tiny(), torch.rand(2, 3, 13, 22)
    with torch.no_grad():
        padded = network(F.pad(image, (0, 2, 0, 3), 'reflect'))
        assert torch.equal(network(image), padded[..., :13, :22])


def test_every_parameter_is_trained_by_the_last_stage_alone():
    network = tiny().train()
    network(torch.rand(2, 3, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_options_matter_and_wrong_ones_are_named():
    assert MODELS.get('MPRNet') is MPRNet
    base = {key: value.shape for key, value in tiny().state_dict().items()}
    options = ({'num_blocks': 2}, {'kernel_size': 5}, {'reduction': 2}, {'bias': True})
    for changed in options:
        assert {k: v.shape for k, v in tiny(**changed).state_dict().items()} != base
    for wrong in ({'kernel_size': 4}, {'reduction': 8}, {'reduction': 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            tiny(**wrong)
