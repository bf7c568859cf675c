import copy

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.logging import MessageHub
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import turn_on_activation_checkpointing
from torch import nn
from toy import NAFNET, batch, cascade_model, plain_model, random_analyzer

import mmsamdistill  # noqa: F401

FULL = {'sgr_loss': {'type': 'SGRLoss'}, 'analyzer': random_analyzer()}

RESTORERS = {
    'NAFNet': NAFNET['generator'],
    'NAFNetLocal': {**NAFNET['generator'], 'type': 'NAFNetLocal'},
    'NAFBaseline': {
        'type': 'NAFBaseline',
        'img_channel': 3,
        'mid_channels': 4,
        'enc_blk_nums': [1],
        'dec_blk_nums': [1],
    },
    'Restormer': {
        'type': 'Restormer',
        'dim': 8,
        'num_blocks': [1, 1, 1, 1],
        'num_refinement_blocks': 1,
        'heads': [1, 1, 1, 1],
    },
    'SwinIRNet': {
        'type': 'SwinIRNet',
        'upscale': 1,
        'img_size': 16,
        'window_size': 8,
        'depths': [1],
        'embed_dim': 8,
        'num_heads': [2],
        'mlp_ratio': 2,
        'upsampler': '',
        'resi_connection': '1conv',
    },
    'user': {'type': 'ToyNet'},
}


def build(**parts):
    torch.manual_seed(0)
    model = MODELS.build(cascade_model(**parts))
    model.init_weights()
    return model


def losses_of(model, **options):
    data = model.data_preprocessor(batch(**options), True)
    return model(**data, mode='loss')


def student_gradient(model, **options):
    model.zero_grad()
    model.parse_losses(losses_of(model, **options))[0].backward()
    return {name: p.grad.clone() for name, p in model.restorer.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize('name', RESTORERS)
def test_trains_every_restorer_and_deploys_the_student_alone(name):
    plain = plain_model(RESTORERS[name])
    model = build(restorer=plain, **FULL)
    before = copy.deepcopy(model.state_dict())
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    model.train()
    for seed in range(2):
        log = model.train_step(batch(seed=seed), wrapper)
    assert all(torch.isfinite(value) for value in log.values())
    assert {'loss_rec', 'loss_rec_teacher', 'loss_spd', 'loss_sgr'} <= set(log)
    for part in ('restorer', 'spf', 'teacher'):
        moved = [
            k
            for k in before
            if k.startswith(part) and not torch.equal(before[k], model.state_dict()[k])
        ]
        assert moved, f'{part} did not learn'

    model.eval()
    deployed = MODELS.build(plain).eval()
    deployed.load_state_dict(model.restorer.state_dict(), strict=True)
    # Nothing but the student may be needed.
    model.teacher = model.spf = model.regions = model.analyzer = None
    data = model.data_preprocessor(batch(regions=False), False)
    with torch.no_grad():
        assert torch.equal(model(**data), deployed(**data))
        ours = model(**data, mode='predict')[0].output.pred_img
        data = deployed.data_preprocessor(batch(regions=False), False)
        assert torch.equal(ours, deployed(**data, mode='predict')[0].output.pred_img)


def test_losses_are_named_and_only_they_are_summed():
    model = build(**FULL)
    total, log = model.parse_losses(losses_of(model))
    parts = ('loss_rec', 'loss_rec_teacher', 'loss_spd', 'loss_sgr')
    assert torch.allclose(total, sum(log[part] for part in parts))
    assert set(log) == {'loss', *parts, 'psnr_student', 'psnr_teacher'}
    assert not log['psnr_student'].requires_grad


def test_logged_psnr_is_that_of_the_denormalised_image():
    shifted = {'type': 'DataPreprocessor', 'mean': [127.5] * 3, 'std': [127.5] * 3}
    model = build(restorer=plain_model(data_preprocessor=shifted))
    data = model.data_preprocessor(batch(), True)
    with torch.no_grad():
        restored = model.restorer(**data) * 127.5 + 127.5
        truth = data['data_samples'].gt_img * 127.5 + 127.5
        expected = 10 * torch.log10(255**2 / (restored - truth).square().mean())
        logged = model(**data, mode='loss')['psnr_student']
    assert torch.allclose(logged, expected, atol=1e-3)


def test_detached_cascade_shields_the_student_from_the_teacher():
    alone = build(spd_loss=None)
    student = student_gradient(alone)
    plain = MODELS.build(plain_model())
    plain.load_state_dict(alone.restorer.state_dict())
    data = plain.data_preprocessor(batch(regions=False), True)
    plain(**data, mode='loss')['loss'].backward()
    for name, parameter in plain.named_parameters():
        assert torch.equal(student[name], parameter.grad)

    joined = student_gradient(build(spd_loss=None, detach_cascade=False))
    assert any(not torch.allclose(student[name], joined[name]) for name in student)


def test_spd_and_sgr_reach_the_student_and_not_the_teacher():
    def gradients(**parts):
        model = build(**parts)
        with torch.no_grad():  # an untrained SPF is the identity; let the two differ
            for parameter in model.teacher.parameters():
                parameter.mul_(1.5)
        student = student_gradient(model)
        return student, [p.grad.clone() for p in model.teacher.parameters()]

    plain, teacher = gradients(spd_loss=None)
    for parts in ({}, {'spd_loss': None, **FULL}):
        student, same_teacher = gradients(**parts)
        assert any(not torch.equal(student[name], plain[name]) for name in plain)
        assert all(torch.equal(a, b) for a, b in zip(teacher, same_teacher, strict=True))


def test_feature_layers_add_to_spd():
    loss = {'type': 'SPDLoss', 'gate': None}
    taps = {**loss, 'feature_layers': ('generator.first',), 'feature_weight': 1.0}
    without = losses_of(build(spd_loss=loss))['loss_spd']
    with_taps = losses_of(build(spd_loss=taps))['loss_spd']
    assert with_taps > without


def test_regions_matter_to_the_teacher():
    model = build()
    with torch.no_grad():
        for parameter in model.spf.parameters():
            parameter.add_(0.05)
    with_regions = losses_of(model)['loss_rec_teacher']
    model.regions = None
    assert losses_of(model)['loss_rec_teacher'] != with_regions


@pytest.mark.parametrize('stage', ['teacher', 'student'])
def test_stages_train_one_side_only(stage):
    model = build(stage=stage, **FULL).train()
    fixed = ('restorer.',) if stage == 'teacher' else ('teacher.', 'spf.')
    before = copy.deepcopy(model.state_dict())
    trainable = [p for p in model.parameters() if p.requires_grad]
    wrapper = OptimWrapper(torch.optim.SGD(trainable, lr=0.1))
    log = model.train_step(batch(), wrapper)
    for key, value in model.state_dict().items():
        if key.startswith(fixed):
            assert torch.equal(value, before[key]), key
    moved = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert moved
    assert ('loss_rec' in log) == (stage == 'student')
    assert ('loss_rec_teacher' in log) == (stage == 'teacher')
    frozen = model.restorer if stage == 'teacher' else model.teacher
    assert not frozen.training
    assert model.training


def test_frozen_networks_stay_out_of_everything():
    model = build(**FULL).train()
    names = [*model.state_dict(), *dict(model.named_parameters()), *dict(model.named_buffers())]
    assert not [name for name in names if 'analyzer' in name or 'regions' in name]
    assert not model.analyzer.network.training
    assert next(model.analyzer.network.parameters()).dtype == torch.float32
    model.double()
    assert next(model.analyzer.network.parameters()).dtype == torch.float64


def test_every_trained_parameter_gets_a_gradient_without_any_region():
    model = build(**FULL)
    data = model.data_preprocessor(batch(), True)
    data['data_samples'].regions.zero_()
    losses = model(**data, mode='loss')
    assert losses['loss_sgr'] == 0
    model.parse_losses(losses)[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_plain_checkpoint_initialises_student_and_teacher():
    plain = MODELS.build(plain_model())
    model = build()
    spf = copy.deepcopy(model.spf.state_dict())
    model.load_state_dict(plain.state_dict())
    for key, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[f'restorer.{key}'], value)
        assert torch.equal(model.state_dict()[f'teacher.{key}'], value)
    assert all(torch.equal(value, model.spf.state_dict()[key]) for key, value in spf.items())


def test_wider_teacher_keeps_its_own_initialisation():
    model = build(teacher={'generator': {'channels': 6}})
    assert model.teacher.generator.first.out_channels == 6
    assert model.restorer.generator.first.out_channels == 4
    before = copy.deepcopy(model.teacher.state_dict())
    model.load_state_dict(MODELS.build(plain_model()).state_dict())
    assert all(torch.equal(v, model.teacher.state_dict()[k]) for k, v in before.items())


@pytest.mark.parametrize('strict', [True, False])
def test_partial_checkpoints_are_refused(strict):
    model = build()
    plain = MODELS.build(plain_model()).state_dict()
    del plain['generator.last.bias']
    with pytest.raises(ValueError, match=r'generator\.last\.bias'):
        model.load_state_dict(plain, strict=strict)
    cascade = model.state_dict()
    del cascade['teacher.generator.last.bias']
    with pytest.raises(ValueError, match=r'teacher\.generator\.last\.bias'):
        model.load_state_dict(cascade, strict=strict)


def test_size_changing_restorer_is_refused():
    model = build(restorer=plain_model({'type': 'ToyUpsampler'}))
    with pytest.raises(ValueError, match='same size'):
        losses_of(model)


def test_region_map_of_another_size_is_refused():
    model = build()
    data = model.data_preprocessor(batch(), True)
    data['data_samples'].regions = data['data_samples'].regions[..., :8]
    with pytest.raises(ValueError, match='region'):
        model(**data, mode='loss')


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'stage': 'both'}, 'stage'),
        ({'spd_warmup': (5, 3)}, 'spd_warmup'),
        ({'spd_warmup': 5}, 'spd_warmup=5 must be two iterations'),
        ({'spd_warmup': ('a', 3)}, 'spd_warmup'),
        ({'spd_warmup': None}, 'spd_warmup=None'),
        ({'teacher_momentum': 'abc'}, 'teacher_momentum=abc'),
        ({'detach_cascade': 'no'}, "detach_cascade='no' must be True or False"),
        ({'sgr_loss': {'type': 'SGRLoss', 'matched': 'no'}}, "matched='no'"),
        ({'sgr_warmup': (-1, 3)}, 'sgr_warmup'),
        ({'sgr_loss': {'type': 'SGRLoss'}, 'analyzer': None}, 'analyzer'),
        ({'teacher_interval': 0}, 'teacher_interval=0'),
        ({'teacher_interval': 1.5}, 'teacher_interval=1.5'),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        build(**wrong)


@pytest.mark.parametrize(
    ('restorer', 'message'),
    [
        (nn.Conv2d(3, 3, 1), r'restorer is a Conv2d.*BaseEditModel'),
        (None, r'restorer is a NoneType'),
        ({'type': 'ToyNet'}, r'builds a ToyNet, which has no .*pixel_loss.*`generator`'),
    ],
)
def test_a_bare_network_is_refused_with_the_way_out(restorer, message):
    with pytest.raises(TypeError, match=message):
        MODELS.build({'type': 'SAMDistillRestorer', 'restorer': restorer})


@pytest.mark.parametrize('white', [1.0, 255.0, 65535.0])
def test_regions_and_scores_do_not_depend_on_the_bit_depth(white):
    scaled = {'type': 'DataPreprocessor', 'mean': [0.0] * 3, 'std': [white] * 3}
    options = {'value_range': 1} if white == 1 else {}
    model = build(restorer=plain_model(data_preprocessor=scaled), **options, **FULL)
    seen = []
    model.regions.forward = lambda images, samples: (
        seen.append(images),
        samples.regions[:, 0].long(),
    )[1]
    raw = batch()
    raw['inputs'] = [image / 255 * white for image in raw['inputs']]
    for sample in raw['data_samples']:
        sample.gt_img = sample.gt_img / 255 * white
    losses = model(**model.data_preprocessor(raw, True), mode='loss')
    reference = build(**FULL)
    expected = losses_of(reference)
    assert 0.2 < seen[0].mean() < 0.8
    for key in ('psnr_student', 'psnr_teacher', 'loss_sgr'):
        assert torch.allclose(losses[key], expected[key], rtol=1e-3, atol=1e-4), key


def test_a_part_without_a_type_is_of_the_default_one():
    seen = {'weights': 'random', 'layers': ('relu1_2',)}
    model = build(
        spf={'channels': 4, 'depth': 1},
        spd_loss={'loss_weight': 0.1},
        sgr_loss={'loss_weight': 0.03},
        analyzer=seen,
    )
    parts = (model.spf, model.spd_loss, model.sgr_loss, model.analyzer)
    assert [type(part).__name__ for part in parts] == [
        'SPFHead',
        'SPDLoss',
        'SGRLoss',
        'VGGAnalyzer',
    ]
    assert (model.spd_loss.loss_weight, model.sgr_loss.loss_weight) == (0.1, 0.03)
    assert build(sgr_loss=None, analyzer=seen).analyzer is None


def test_a_matched_sgr_keeps_its_share_whatever_range_the_network_sees():
    shares = []
    for mean, std in ((0.0, 255.0), (127.5, 127.5)):
        scaled = {'type': 'DataPreprocessor', 'mean': [mean] * 3, 'std': [std] * 3}
        restorer = plain_model(data_preprocessor=scaled, pixel_loss={'type': 'L1Loss'})
        sgr = {'type': 'SGRLoss', 'target': 'truth'}
        model = build(restorer=restorer, sgr_loss=sgr, analyzer=random_analyzer())
        with torch.no_grad():
            for parameter in model.restorer.parameters():
                parameter.zero_()  # the toy network is then the identity
        losses = losses_of(model)
        shares.append((losses['loss_sgr'] / losses['loss_rec']).item())
    assert shares[0] > 0
    assert shares[1] == pytest.approx(shares[0], rel=1e-3)


def test_a_range_that_cannot_be_told_is_refused_at_once():
    silent = {'type': 'DataPreprocessor', 'mean': [0.0] * 3, 'std': [1.0] * 3}
    with pytest.raises(ValueError, match='value_range=255'):
        build(restorer=plain_model(data_preprocessor=silent))


def test_unknown_mode_is_named():
    with pytest.raises(ValueError, match='mode'):
        build()(torch.zeros(1, 3, 8, 8), mode='train')


@pytest.mark.parametrize('name', ['spd', 'sgr'])
def test_warmup_follows_the_runner(name):
    model = build(**FULL, **{f'{name}_warmup': (10, 20)})
    with torch.no_grad():
        for parameter in model.teacher.parameters():
            parameter.mul_(1.1)
    hub = MessageHub.get_instance('warmup')
    values = {}
    for iteration in (0, 10, 15, 20, 99):
        hub.update_info('iter', iteration)
        values[iteration] = losses_of(model)[f'loss_{name}'].item()
    MessageHub._instance_dict.pop('warmup')
    setattr(model, f'{name}_warmup', (0, 0))
    full = losses_of(model)[f'loss_{name}'].item()
    assert full > 0
    assert values == pytest.approx({0: 0, 10: 0, 15: full / 2, 20: full, 99: full})


def test_between_its_steps_the_teacher_rests():
    """The student then takes the very step that the plain restorer would take."""
    model = build(teacher_interval=2, **FULL)
    plain = copy.deepcopy(model.restorer)
    before = copy.deepcopy(model.state_dict())
    hub = MessageHub.get_instance('interval')
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1))
    hub.update_info('iter', 1)
    log = model.train_step(batch(), wrapper)
    assert set(log) == {'loss', 'loss_rec', 'psnr_student'}
    plain.train_step(
        batch(regions=False),
        OptimWrapper(torch.optim.SGD(plain.parameters(), lr=0.1, weight_decay=0.1)),
    )
    for name, value in plain.state_dict().items():
        assert torch.equal(model.restorer.state_dict()[name], value), name
    rests = [name for name in before if name.startswith(('teacher.', 'spf.'))]
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in rests)
    hub.update_info('iter', 2)
    log = model.train_step(batch(), wrapper)
    MessageHub._instance_dict.pop('interval')
    assert {'loss_rec_teacher', 'loss_spd', 'loss_sgr', 'psnr_teacher'} <= set(log)
    assert not all(torch.equal(model.state_dict()[name], before[name]) for name in rests)


def test_a_teacher_that_is_trained_first_never_rests():
    model = build(teacher_interval=2, stage='teacher', **FULL)
    hub = MessageHub.get_instance('interval')
    hub.update_info('iter', 1)
    log = losses_of(model)
    MessageHub._instance_dict.pop('interval')
    assert 'loss_rec_teacher' in log


def test_gradient_accumulation_equals_the_larger_batch():
    # A linear criterion, so that the mean over two halves is the mean over the whole.
    restorer = plain_model(pixel_loss={'type': 'MSELoss'})
    halves = build(restorer=restorer, spd_loss=None)
    whole = copy.deepcopy(halves)
    data = batch(count=4)
    wrapper = OptimWrapper(torch.optim.SGD(halves.parameters(), lr=0.1), accumulative_counts=2)
    wrapper.initialize_count_status(halves, 0, 2)
    for part in (slice(0, 2), slice(2, 4)):
        halves.train_step({key: value[part] for key, value in data.items()}, wrapper)
    whole.train_step(batch(count=4), OptimWrapper(torch.optim.SGD(whole.parameters(), lr=0.1)))
    for name, value in whole.state_dict().items():
        assert torch.allclose(halves.state_dict()[name], value, atol=1e-6), name


def test_recomputing_parts_gives_the_same_gradient():
    """As ``activation_checkpointing`` in a config does, whose old form loses the analyser's."""
    whole = build(**FULL)
    thrifty = copy.deepcopy(whole)
    parts = ['restorer.generator', 'teacher.generator', 'analyzer']
    turn_on_activation_checkpointing(thrifty, parts)
    for model in (whole, thrifty):
        model.parse_losses(losses_of(model))[0].backward()
    for (name, parameter), other in zip(
        whole.named_parameters(), thrifty.parameters(), strict=True
    ):
        torch.testing.assert_close(other.grad, parameter.grad, msg=name)


def test_amp_step_is_finite_and_close_to_full_precision():
    model = build(**FULL).train()
    full = {k: v.item() for k, v in losses_of(model).items()}
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = losses_of(model)
    model.parse_losses(half)[0].backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
    assert half['loss_rec'].item() == pytest.approx(full['loss_rec'], rel=0.02)


def test_amp_optimiser_wrapper(monkeypatch):
    # On a machine without accelerator MMEngine's wrapper refuses to be built; its CPU form is
    # an ordinary autocast, which the test above covers.
    if not torch.cuda.is_available():
        pytest.skip('needs an accelerator')
    model = build(**FULL).cuda().train()
    wrapper = AmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=1e-3))
    log = model.train_step(batch(), wrapper)
    assert all(torch.isfinite(value) for value in log.values())


def test_online_regions_see_rgb_in_unit_range():
    seen = {}

    class Probe(nn.Module):
        def forward(self, images, data_samples=None):
            seen['images'] = images
            return torch.zeros(len(images), *images.shape[-2:], dtype=torch.long)

    bgr = {'type': 'DataPreprocessor', 'mean': [20.0] * 3, 'std': [200.0] * 3}
    model = build(restorer=plain_model(data_preprocessor=bgr))
    model.regions = Probe()
    with torch.no_grad():
        for parameter in model.restorer.parameters():
            parameter.zero_()  # the toy network is then the identity
    raw = batch()
    for sample in raw['data_samples']:
        sample.set_metainfo({'img_channel_order': 'bgr', 'gt_channel_order': 'bgr'})
    images = torch.stack(raw['inputs']).clone()
    model(**model.data_preprocessor(raw, True), mode='loss')
    assert torch.allclose(seen['images'], images.flip(1) / 255, atol=1e-5)


def test_the_teacher_can_be_given_the_degraded_image_instead():
    model = build(teacher_input='degraded')
    data = model.data_preprocessor(batch(), True)
    with torch.no_grad():
        expected = model.teacher.forward_tensor(data['inputs'], data['data_samples'])
    given = torch.stack(list(_predicted(model, data)))
    # An untrained SPF is the identity.
    assert torch.equal(given, _destructed(model, expected, data))
    with torch.no_grad():
        model.restorer.generator.last.bias.add_(0.5)
    assert torch.equal(torch.stack(list(_predicted(model, data))), given)


def test_output_distillation_needs_neither_spf_nor_regions():
    model = build(teacher_input='degraded', spf=None, regions=None)
    losses = losses_of(model, regions=False)
    assert {'loss_rec', 'loss_rec_teacher', 'loss_spd'} <= set(losses)


def test_unknown_teacher_input_is_refused():
    with pytest.raises(ValueError, match="teacher_input='truth' is not one of"):
        build(teacher_input='truth')


@torch.no_grad()
def _predicted(model, data):
    for sample in model.predict_teacher(data['inputs'], data['data_samples']):
        yield sample.output.pred_img


def _destructed(model, images, data):
    return model.data_preprocessor.destruct(images, data['data_samples']).cpu()
