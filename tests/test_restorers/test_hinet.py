import pytest
import torch
from mmagic.registry import MODELS
from torch.nn import functional as F

from mmsamdistill.deploy.cost import count_parameters
from mmsamdistill.restorers import HINet
from mmsamdistill.weights import load_plain


def tiny(**options):
    torch.manual_seed(0)
    return HINet(**{'mid_channels': 4, 'depth': 3, 'hin_levels': (0, 2), **options}).eval()


# Counted in the official code, whose outputs ours equal bit for bit on random weights.
@pytest.mark.parametrize(
    ('options', 'count'),
    [
        ({}, 88_669_702),
        ({'hin_levels': (3, 4)}, 88_668_806),
        ({'mid_channels': 32}, 22_176_518),
    ],
)
def test_published_sizes(options, count):
    with torch.device('meta'):
        assert count_parameters(HINet(**options)) == count


def test_parameters_have_the_official_names_and_shapes():
    with torch.device('meta'):
        shapes = {key: tuple(value.shape) for key, value in HINet().state_dict().items()}
    assert len(shapes) == 198
    expected = {
        'conv_01.weight': (64, 3, 3, 3),
        'down_path_1.0.identity.weight': (64, 64, 1, 1),
        'down_path_1.3.downsample.weight': (512, 512, 4, 4),
        'down_path_1.4.norm.weight': (512,),
        'down_path_2.0.csff_enc.weight': (64, 64, 3, 3),
        'down_path_2.3.csff_dec.bias': (512,),
        'up_path_1.0.up.weight': (1024, 512, 2, 2),
        'up_path_2.3.conv_block.conv_1.weight': (64, 128, 3, 3),
        'skip_conv_2.0.weight': (512, 512, 3, 3),
        'sam12.conv2.weight': (3, 64, 3, 3),
        'cat12.weight': (64, 128, 1, 1),
        'last.bias': (3,),
    }
    assert expected.items() <= shapes.items()
    absent = ('down_path_1.0.csff_enc.weight', 'down_path_2.4.csff_enc.weight')
    assert not [key for key in shapes if key in absent or key.startswith('down_path_1.4.down')]


def test_official_checkpoint_loads_completely():
    official, network = tiny(), tiny()
    with torch.no_grad():
        for parameter in official.parameters():
            parameter.add_(0.1)
    load_plain(network, {'params': official.state_dict()})
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(network(image), official(image))


def test_half_of_the_channels_are_normalised_at_the_levels_named():
    image = torch.rand(2, 3, 16, 16)
    block = tiny(hin_levels=(1, 1)).down_path_1[1]
    assert [b.norm is None for b in tiny(hin_levels=(1, 1)).down_path_2] == [True, False, True]
    seen = []
    block.relu_1.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    block(F.conv2d(image, torch.rand(4, 3, 1, 1)))
    means, spreads = seen[0].mean(dim=(2, 3)), seen[0].std(dim=(2, 3), correction=0)
    assert torch.allclose(means[:, :4], torch.zeros(2, 4), atol=1e-5)
    assert torch.allclose(spreads[:, :4], torch.ones(2, 4), atol=1e-2)
    assert not torch.allclose(means[:, 4:], torch.zeros(2, 4), atol=1e-2)


def test_a_block_adds_what_it_saw_after_its_last_activation():
    block, image = tiny(hin_levels=(1, 1)).down_path_1[0], torch.randn(2, 4, 8, 8)
    hidden = F.leaky_relu(block.conv_1(image), 0.2)
    expected = F.leaky_relu(block.conv_2(hidden), 0.2) + block.identity(image)
    torch.testing.assert_close(block(image), expected)


def test_both_stages_are_residual_images_and_the_last_is_deployed():
    network, image = tiny(), torch.rand(1, 3, 12, 20)
    with torch.no_grad():
        first, second = network.forward_stages(image)
        assert torch.equal(network(image), second)
        assert not torch.equal(first, second)
        for module in (network.sam12.conv2, network.last):
            module.weight.zero_()
            module.bias.fill_(0.25)
        for stage in network.forward_stages(image):
            assert torch.allclose(stage, image + 0.25)


def test_second_stage_sees_the_first():
    network, image = tiny(), torch.rand(1, 3, 12, 20)
    with torch.no_grad():
        before = network(image)
        for name in ('csff_enc', 'csff_dec'):
            getattr(network.down_path_2[1], name).weight.add_(0.1)
            after = network(image)
            assert not torch.equal(before, after)
            before = after
        network.sam12.conv1.weight.add_(0.1)
        assert not torch.equal(before, network(image))


def test_each_level_fuses_what_its_own_encoder_and_decoder_found():
    network, seen = tiny(), {}
    names = ('down_path_1.1', 'up_path_1.0', 'down_path_2.1.csff_enc', 'down_path_2.1.csff_dec')
    for name in names:
        network.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: (inputs[0], output)})
        )
    network(torch.rand(1, 3, 12, 20))
    encoder, decoder, *fused = (seen[name] for name in names)
    assert torch.equal(fused[0][0], encoder[1])
    assert torch.equal(fused[1][0], decoder[1])


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
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        outputs = [tiny(relu_slope=slope)(image) for slope in (0.2, 0.4)]
    assert not torch.equal(*outputs)
    assert MODELS.get('HINet') is HINet
    with pytest.raises(ValueError, match='depth'):
        HINet(depth=0)
    with pytest.raises(ValueError, match='mid_channels'):
        HINet(mid_channels=5)
