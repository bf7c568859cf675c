import pytest
import torch
from mmengine.hooks import EMAHook
from torch import nn

from mmsamdistill.weights import find_state_dict, to_plain_state_dict

RAW = {'generator.w': torch.zeros(2), 'generator.b': torch.zeros(1)}
AVERAGED = {key: value + 1 for key, value in RAW.items()}


def prefixed(prefix, weights):
    return {prefix + key: value for key, value in weights.items()}


def same(a, b):
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    'checkpoint',
    [
        RAW,
        {'state_dict': RAW, 'meta': {'iter': 3}, 'optimizer': {'state': {}}},
        {'params': RAW},
        # MPRNet as its training saves it; PReNet's files are bare like the first one.
        {'epoch': 3, 'state_dict': RAW, 'optimizer': {'state': {}, 'param_groups': []}},
        prefixed('module.', RAW),
        {'state_dict': prefixed('module.', RAW)},
        {'params': prefixed('_orig_mod.module.', RAW)},
        {'params': prefixed('module._orig_mod.', RAW)},
        {'model': RAW},
        {'net': RAW, 'optimizer': {}},
        {'netG': RAW},
        {'model_state_dict': RAW, 'optimizer_state_dict': {'state': {}}, 'epoch': 3},
        {
            'state_dict': {
                'generator._orig_mod.w': RAW['generator.w'],
                'generator.b': torch.zeros(1),
            }
        },
    ],
)
@pytest.mark.parametrize('ema', [True, False])
def test_finds_the_weights_of_every_dialect(checkpoint, ema):
    assert same(find_state_dict(checkpoint, ema), RAW)


@pytest.mark.parametrize(
    'checkpoint',
    [
        {'params': RAW, 'params_ema': AVERAGED},
        {'params': RAW, 'params-ema': AVERAGED},
        {'state_dict': {**RAW, 'generator_ema.w': torch.ones(2), 'generator_ema.b': torch.ones(1)}},
        {
            'state_dict': {
                **RAW,
                'generator_ema.module.w': torch.ones(2),
                'generator_ema.module.b': torch.ones(1),
                'generator_ema.steps': torch.tensor(9),
            }
        },
    ],
)
def test_chooses_between_raw_and_averaged(checkpoint):
    assert same(find_state_dict(checkpoint, ema=True), AVERAGED)
    assert same(find_state_dict(checkpoint, ema=False), RAW)


@pytest.mark.slow
def test_averaged_weights_of_mmengine_as_its_hook_saves_them():
    class Runner:
        model = nn.Linear(2, 1)

    hook = EMAHook(momentum=0.5)
    hook.before_run(Runner)
    raw = {key: value.clone() for key, value in Runner.model.state_dict().items()}
    with torch.no_grad():
        for parameter in hook.ema_model.module.parameters():
            parameter.add_(1)
    checkpoint = {'state_dict': Runner.model.state_dict()}
    hook.before_save_checkpoint(Runner, checkpoint)
    assert same(find_state_dict(checkpoint, ema=False), raw)
    assert same(find_state_dict(checkpoint, ema=True), {key: raw[key] + 1 for key in raw})


def test_says_so_when_only_averaged_weights_are_there():
    assert same(find_state_dict({'params_ema': AVERAGED}), AVERAGED)
    with pytest.raises(ValueError, match='no raw ones'):
        find_state_dict({'params_ema': AVERAGED}, ema=False)


@pytest.mark.parametrize('content', [{}, {'state_dict': {}}])
def test_empty_checkpoint(content):
    with pytest.raises(ValueError, match='no weights'):
        find_state_dict(content)


def test_unknown_dialect_names_what_it_found():
    with pytest.raises(ValueError, match="'epoch', 'body'"):
        find_state_dict({'epoch': 3, 'body': RAW})


def test_takes_the_student_of_a_cascade():
    cascade = {
        **prefixed('restorer.', AVERAGED),
        **prefixed('teacher.', RAW),
        'spf.gate': torch.ones(3),
    }
    assert same(to_plain_state_dict(cascade, RAW), AVERAGED)
    assert same(to_plain_state_dict(prefixed('module.', cascade), RAW), AVERAGED)


def test_bare_network_and_whole_model_translate_both_ways():
    bare = {key.removeprefix('generator.'): value for key, value in AVERAGED.items()}
    assert same(to_plain_state_dict(bare, RAW), AVERAGED)
    assert same(to_plain_state_dict(AVERAGED, bare), bare)


def test_what_lies_outside_a_bare_network_is_kept():
    reference = {'step_counter': torch.tensor(5), **RAW}
    bare = {'w': torch.ones(2), 'b': torch.ones(1)}
    plain = to_plain_state_dict(bare, reference)
    assert same(plain, {'step_counter': torch.tensor(5), **AVERAGED})
    with pytest.raises(ValueError, match='missing: step_counter'):
        to_plain_state_dict(AVERAGED, reference)


def test_order_is_the_references_and_nothing_is_copied():
    given = dict(reversed(AVERAGED.items()))
    plain = to_plain_state_dict(given, RAW)
    assert list(plain) == list(RAW)
    assert plain['generator.w'] is AVERAGED['generator.w']
    assert list(given) == list(reversed(AVERAGED))


def test_attention_masks_of_another_image_size_are_the_models_own():
    reference = {**RAW, 'generator.block.attn_mask': torch.zeros(4, 2, 2)}
    given = {**AVERAGED, 'generator.block.attn_mask': torch.ones(9, 2, 2)}
    plain = to_plain_state_dict(given, reference)
    assert torch.equal(plain['generator.block.attn_mask'], torch.zeros(4, 2, 2))
    with pytest.raises(ValueError, match=r'missing: generator\.block\.attn_mask'):
        to_plain_state_dict(AVERAGED, reference)


def test_incomplete_and_foreign_weights_are_refused():
    with pytest.raises(ValueError, match=r'1 missing: generator\.b'):
        to_plain_state_dict({'generator.w': torch.zeros(2)}, RAW)
    with pytest.raises(ValueError, match=r'1 unexpected: generator\.x'):
        to_plain_state_dict({**RAW, 'generator.x': torch.zeros(2)}, RAW)
    # A teacher is no student.
    with pytest.raises(ValueError, match='missing'):
        to_plain_state_dict(prefixed('teacher.', RAW), RAW)


BARE = {'w': torch.zeros(2), 'b': torch.zeros(1)}


@pytest.mark.parametrize('prefix', ['netG.', 'model.', 'net.restorer_net.', 'generator.module.'])
@pytest.mark.parametrize('reference', [BARE, RAW], ids=['network', 'model'])
def test_one_prefix_before_all_names_is_removed(prefix, reference):
    assert same(to_plain_state_dict(prefixed(prefix, BARE), reference), reference)


def test_a_prefix_before_some_names_is_refused():
    for mixed in (
        {**prefixed('netG.', BARE), 'netD.w': torch.zeros(2)},
        {'netG.w': torch.zeros(2), 'b': torch.zeros(1)},
        {'netG.w': torch.zeros(2), 'netH.b': torch.zeros(1)},
    ):
        with pytest.raises(ValueError, match='missing'):
            to_plain_state_dict(mixed, RAW)


@pytest.mark.parametrize(
    'content',
    [
        [1],
        {3: torch.zeros(1)},
        {'state_dict': {('a',): torch.zeros(1)}},
        {'params': {'w': torch.zeros(2).to_sparse()}},
        {'state_dict': {}},
    ],
)
def test_what_are_no_weights_is_said_so(content):
    for ema in (True, False):
        with pytest.raises(ValueError, match=r'no weights|a dict of weights'):
            find_state_dict(content, ema)
