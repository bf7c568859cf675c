import pytest
import torch
from mmagic.registry import MODELS

from mmsamdistill.deploy.cost import count_parameters
from mmsamdistill.restorers import PReNet
from mmsamdistill.weights import load_plain


def tiny(**options):
    torch.manual_seed(0)
    return PReNet(**{'num_stages': 3, 'mid_channels': 4, **options}).eval()


# Counted in the official code, whose outputs ours equal bit for bit, also with official weights.
@pytest.mark.parametrize(('options', 'count'), [({}, 168_963), ({'shared_blocks': True}, 94_979)])
def test_published_sizes(options, count):
    assert count_parameters(PReNet(**options)) == count
    assert count_parameters(PReNet(num_stages=2, **options)) == count


def test_parameters_have_the_official_names_and_shapes():
    shapes = {key: tuple(value.shape) for key, value in PReNet().state_dict().items()}
    modules = [
        'conv0.0',
        *(f'res_conv{block}.{layer}' for block in range(1, 6) for layer in (0, 2)),
        *(f'conv_{gate}.0' for gate in 'ifgo'),
        'conv.0',
    ]
    assert list(shapes) == [f'{name}.{kind}' for name in modules for kind in ('weight', 'bias')]
    assert shapes['conv0.0.weight'] == (32, 6, 3, 3)
    assert shapes['conv_g.0.weight'] == (32, 64, 3, 3)
    assert shapes['conv.0.weight'] == (3, 32, 3, 3)
    shared = PReNet(shared_blocks=True).state_dict()
    assert set(shared) == {key for key in shapes if 'res_conv' not in key or 'conv1' in key}


def test_official_checkpoint_loads_completely():
    # A bare dict of weights, as the official repository ships them.
    official, network = tiny(), tiny()
    with torch.no_grad():
        for parameter in official.parameters():
            parameter.add_(0.1)
    load_plain(network, official.state_dict())
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(network(image), official(image))


def test_stages_repeat_one_network_with_a_memory():
    image = torch.rand(1, 3, 7, 9)
    with torch.no_grad():
        stages = tiny().forward_stages(image)
        assert torch.equal(tiny()(image), stages[-1])
        for count in (1, 2):  # fewer stages are the first of more
            assert torch.equal(tiny(num_stages=count)(image), stages[count - 1])
        network = tiny()
        network.conv_f[0].bias.fill_(-1e4)  # forget everything
        forgetful = network.forward_stages(image)
    assert torch.equal(forgetful[0], stages[0])  # there was nothing to forget
    assert not torch.equal(forgetful[1], stages[1])


@torch.no_grad()
def test_first_stage_by_hand():
    # All weights zero and the biases known: every value is a constant.
    network = tiny(num_stages=1)
    for parameter in network.parameters():
        parameter.zero_()
    for gate, bias in (('i', 1.0), ('g', 0.5), ('o', -1.0)):
        getattr(network, f'conv_{gate}')[0].bias.fill_(bias)
    network.conv[0].weight[:, :, 1, 1] = 1.0
    image = torch.rand(1, 3, 5, 5)
    i, g, o = torch.tensor(1.0).sigmoid(), torch.tensor(0.5).tanh(), torch.tensor(-1.0).sigmoid()
    hidden = o * (i * g).tanh()  # positive, so that the empty residual blocks leave it alone
    assert torch.allclose(network(image), image + 4 * hidden)


def test_shared_block_is_five_equal_blocks():
    shared, image = tiny(shared_blocks=True), torch.rand(1, 3, 8, 8)
    weights = shared.state_dict()
    for key, value in [*weights.items()]:
        if key.startswith('res_conv1'):
            weights |= {key.replace('conv1', f'conv{index}'): value for index in range(2, 6)}
    whole = tiny()
    whole.load_state_dict(weights, strict=True)
    with torch.no_grad():
        assert torch.equal(shared(image), whole(image))


@pytest.mark.parametrize('shared', [False, True])
def test_every_parameter_is_trained_by_the_last_stage_alone(shared):
    network = tiny(shared_blocks=shared).train()
    network(torch.rand(2, 3, 8, 8)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_wrong_options_are_named():
    assert MODELS.get('PReNet') is PReNet
    for wrong in ({'num_stages': 0}, {'mid_channels': 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PReNet(**wrong)
