import pytest
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import load_checkpoint
from toy import NAFNET, cascade_model, plain_model

import mmsamdistill  # noqa: F401
from mmsamdistill.deploy.export import build_model
from mmsamdistill.weights import adopt_plain_state_dict, load_plain


def build(model):
    return build_model(Config({'model': model}))


@pytest.fixture
def model():
    return build(NAFNET)


@pytest.fixture
def wanted(model):
    return {key: torch.randn_like(value) for key, value in model.state_dict().items()}


def official(weights):
    return {key.removeprefix('generator.'): value for key, value in weights.items()}


def holds(model, weights):
    state = model.state_dict()
    return list(state) == list(weights) and all(torch.equal(state[k], weights[k]) for k in weights)


def test_loads_a_file_of_every_dialect(model, wanted, tmp_path):
    cascade = {f'restorer.{key}': value for key, value in wanted.items()}
    dialects = [
        wanted,
        {'state_dict': wanted},
        {'params': official(wanted)},
        {'params_ema': official(wanted), 'params': official(model.state_dict())},
        {'state_dict': {**cascade, 'spf.gate': torch.ones(1)}},
    ]
    for checkpoint in dialects:
        torch.save(checkpoint, tmp_path / 'a.pth')
        fresh = build(NAFNET)
        load_plain(fresh, tmp_path / 'a.pth')
        assert holds(fresh, wanted)


def test_loads_a_mapping_into_a_bare_network(model, wanted):
    load_plain(model.generator, {'state_dict': wanted})
    assert holds(model, wanted)


def test_raw_weights_on_demand(model, wanted):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    checkpoint = {'params_ema': official(wanted), 'params': official(before)}
    load_plain(model, checkpoint, ema=False)
    assert holds(model, before)
    load_plain(model, checkpoint, ema=True)
    assert holds(model, wanted)


def test_a_partial_match_changes_nothing_and_names_the_file(model, wanted, tmp_path):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    lost = wanted.pop('generator.intro.weight')
    torch.save({'state_dict': {**wanted, 'generator.intro.weights': lost}}, tmp_path / 'part.pth')
    with pytest.raises(ValueError, match=r'part\.pth') as error:
        load_plain(model, tmp_path / 'part.pth')
    assert '1 missing: generator.intro.weight\n' in str(error.value)
    assert '1 unexpected: generator.intro.weights' in str(error.value)
    assert holds(model, before)


def test_adopts_what_mmengine_hands_over(model, wanted):
    reference = model.state_dict()
    for given in (wanted, {'params': official(wanted)}, official(wanted)):
        adopted = adopt_plain_state_dict(given, reference)
        assert list(adopted) == list(reference)
        assert all(torch.equal(adopted[key], wanted[key]) for key in wanted)
    with pytest.raises(ValueError, match='missing'):
        adopt_plain_state_dict({'params': {'other': torch.ones(1)}}, reference)


@pytest.mark.parametrize('dialect', ['mmagic', 'official', 'ddp'])
def test_mmengine_loads_a_plain_checkpoint_into_the_cascade(wanted, tmp_path, dialect):
    checkpoint = {
        'mmagic': {'state_dict': wanted},
        'official': {'params': official(wanted)},
        'ddp': {'state_dict': {f'module.{key}': value for key, value in wanted.items()}},
    }[dialect]
    torch.save(checkpoint, tmp_path / 'plain.pth')
    cascade = build(cascade_model(NAFNET))
    load_checkpoint(cascade, str(tmp_path / 'plain.pth'))
    for part in (cascade.restorer, cascade.teacher):
        assert all(torch.equal(part.state_dict()[key], wanted[key]) for key in wanted)


NETWORKS = {
    'NAFNet': {'mid_channels': 4, 'enc_blk_nums': [1], 'dec_blk_nums': [1]},
    'NAFBaseline': {'mid_channels': 4, 'enc_blk_nums': [1], 'dec_blk_nums': [1]},
    'Restormer': {
        'dim': 8,
        'num_blocks': [1, 1, 1, 1],
        'num_refinement_blocks': 1,
        'heads': [1, 1, 1, 1],
        'LayerNorm_type': 'BiasFree',
    },
    'SwinIRNet': {
        'upscale': 1,
        'img_size': 16,
        'window_size': 8,
        'depths': [2],
        'embed_dim': 8,
        'num_heads': [2],
    },
}
# Names in the official repositories' classes, read from there: MMagic's must stay the same.
OFFICIAL_NAMES = {
    'NAFNet': (
        'intro.weight',
        'encoders.0.0.norm1.weight',
        'encoders.0.0.sca.1.weight',
        'encoders.0.0.beta',
        'downs.0.weight',
        'middle_blks.0.conv5.bias',
        'ups.0.0.weight',
        'decoders.0.0.gamma',
        'ending.bias',
    ),
    'NAFBaseline': ('encoders.0.0.se.1.weight', 'encoders.0.0.se.3.bias', 'ending.weight'),
    'Restormer': (
        'patch_embed.proj.weight',
        'encoder_level1.0.norm1.body.weight',
        'encoder_level1.0.attn.temperature',
        'encoder_level1.0.attn.qkv_dwconv.weight',
        'down1_2.body.0.weight',
        'latent.0.ffn.project_in.weight',
        'up4_3.body.0.weight',
        'reduce_chan_level3.weight',
        'refinement.0.ffn.dwconv.weight',
        'output.weight',
    ),
    'SwinIRNet': (
        'conv_first.weight',
        'patch_embed.norm.weight',
        'layers.0.residual_group.blocks.0.attn.relative_position_bias_table',
        'layers.0.residual_group.blocks.0.attn.relative_position_index',
        'layers.0.residual_group.blocks.1.attn_mask',
        'layers.0.residual_group.blocks.1.mlp.fc2.bias',
        'layers.0.conv.weight',
        'conv_after_body.bias',
        'conv_last.weight',
    ),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_mmagic_keeps_the_official_names(name):
    model = build(plain_model({'type': name, **NETWORKS[name]}))
    weights = official(model.state_dict())
    assert set(OFFICIAL_NAMES[name]) <= set(weights)
    moved = {k: v + 1 if v.is_floating_point() else v for k, v in weights.items()}
    load_plain(model, {'params': moved})
    assert holds(model, {f'generator.{key}': value for key, value in moved.items()})
