"""Images without a ground truth: SPD and SGR alone teach them."""

import copy

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from mmengine.optim import OptimWrapper
from toy import batch, cascade_model, config, plain_model, random_analyzer, run_training, write_data

from mmsamdistill.cascade import steps
from mmsamdistill.datasets import WithoutTruth, add_regions_to_pipeline

FULL = {'sgr_loss': {'type': 'SGRLoss'}, 'analyzer': random_analyzer()}
SQUARED = plain_model(pixel_loss={'type': 'MSELoss'})


def build(**parts):
    torch.manual_seed(0)
    model = MODELS.build(cascade_model(**parts))
    model.init_weights()
    with torch.no_grad():  # an untrained SPF is the identity; let student and teacher differ
        model.teacher.generator.last.bias.add_(0.1)
        if model.average is not None:
            model.average.restart()
    return model


def marked(*rows, count=4):
    """A batch in which the images of these rows have no truth."""
    data = batch(count)
    for row in rows:
        data['data_samples'][row].gt_img.fill_(float('nan'))
    return data


def gradients(model, data):
    model.zero_grad()
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    model.parse_losses(losses)[0].backward()
    return losses, {name: p.grad.clone() for name, p in model.named_parameters()}


def test_reconstruction_and_log_are_those_of_the_labelled_images():
    model = build(restorer=SQUARED, spd_loss=None)
    losses, found = gradients(model, marked(2, 3))
    few = batch(4)
    few = {key: value[:2] for key, value in few.items()}
    expected, wanted = gradients(model, few)
    for key, value in expected.items():
        assert torch.allclose(losses[key], value), key
    for name, value in wanted.items():
        assert torch.allclose(found[name], value, atol=1e-7), name


@pytest.mark.parametrize('gate', [None, 'pixel', 'region'])
def test_spd_teaches_them_everywhere_at_the_mean_scale_of_the_others(gate):
    model = build(restorer=SQUARED, spd_loss={'type': 'SPDLoss', 'loss_weight': 1.0, 'gate': gate})
    data = model.data_preprocessor(marked(1, 2, 3), True)
    inputs, truth = data['inputs'], data['data_samples'].gt_img
    restored = inputs.clone().requires_grad_()
    labelled = torch.tensor([True, False, False, False])
    regions = data['data_samples'].regions[:, 0].long()
    teacher = inputs + 0.1
    from mmsamdistill.regions import RegionMap

    loss = model.spd_loss(
        restored, teacher, truth, torch.nn.MSELoss(), RegionMap.from_labels(regions), labelled
    )
    loss.backward()
    # The scale of a squared error over the one labelled image of CHW numbers is 2 / CHW.
    scale = 2 / restored[0].numel()
    assert torch.allclose(restored.grad[1:], torch.full_like(restored[1:], -0.1 * scale))
    assert model(**data, mode='loss')['loss_spd'] > 0


def test_spd_scales_each_labelled_image_by_its_own_error_and_the_others_by_the_mean():
    spd = MODELS.build({'type': 'SPDLoss', 'loss_weight': 1.0, 'gate': None})
    errors = torch.tensor([0.1, 0.4, 0.2])
    truth = torch.zeros(3, 3, 4, 4)
    restored = (truth + errors.view(3, 1, 1, 1)).requires_grad_()
    teacher = restored.detach() - 0.05
    truth[2] = float('nan')
    labelled = torch.tensor([True, True, False])
    spd(restored, teacher, truth, torch.nn.L1Loss(), None, labelled).backward()
    # The gradient of a mean over two images is the same everywhere: the error tells the scale.
    scales = 1 / (2 * restored[0].numel() * errors[:2])
    expected = 0.05 * torch.tensor([*scales, scales.mean()]).view(3, 1, 1, 1)
    assert torch.allclose(restored.grad, expected.expand_as(restored))


@pytest.mark.parametrize('target', ['teacher', 'truth'])
def test_sgr_teaches_them_what_the_teacher_knows_and_nothing_of_a_truth(target):
    analyzer = random_analyzer()
    loss = {'type': 'SGRLoss', 'target': target, 'matched': False}
    model = build(spd_loss=None, sgr_loss=loss, analyzer=analyzer)
    data = model.data_preprocessor(marked(2, 3), True)
    seen = {}
    forward = model.sgr_loss.forward

    def record(features, targets, regions):
        seen.update(features=features[0], targets=targets[0])
        return forward(features, targets, regions)

    model.sgr_loss.forward = record
    model(**data, mode='loss')
    same = [torch.equal(seen['features'][row], seen['targets'][row]) for row in range(4)]
    assert same == ([False] * 4 if target == 'teacher' else [False, False, True, True])
    assert torch.isfinite(seen['targets']).all()


@pytest.mark.parametrize('rows', [(), (0, 1, 2, 3)])
@pytest.mark.parametrize('pixel_loss', ['PSNRLoss', 'L1Loss'])
def test_every_parameter_gets_a_gradient_whatever_is_labelled(rows, pixel_loss):
    model = build(restorer=plain_model(pixel_loss={'type': pixel_loss}), **FULL)
    losses, found = gradients(model, marked(*rows))
    assert {'loss_rec', 'loss_rec_teacher', 'loss_spd', 'loss_sgr'} <= set(losses)
    for name, value in found.items():
        assert torch.isfinite(value).all(), name
    if rows:
        assert not any(value.any() for value in found.values())
        assert 'psnr_student' not in losses


def test_a_matched_sgr_keeps_its_strength_beside_unlabelled_images():
    # Four equal images: the labelled ones' share of the reconstruction grows as they get fewer.
    data = batch(1)
    data = {key: value * 4 for key, value in data.items()}
    data = {key: [copy.deepcopy(each) for each in value] for key, value in data.items()}
    model = build(restorer=SQUARED, spd_loss=None, **FULL)
    every = model(**model.data_preprocessor(copy.deepcopy(data), True), mode='loss')
    data['data_samples'][3].gt_img.fill_(float('nan'))
    three = model(**model.data_preprocessor(data, True), mode='loss')
    assert every['loss_sgr'] > 0
    assert torch.allclose(three['loss_sgr'], every['loss_sgr'] * 4 / 3)


@pytest.mark.parametrize(
    ('rows', 'options', 'said'),
    [
        ((1,), {}, 1),
        ((), {}, 0),
        ((1,), {'teacher_input': 'degraded'}, 0),
        ((1,), {'stage': 'student'}, 0),
    ],
)
def test_a_target_that_feeds_on_itself_is_warned_of_once(rows, options, said, monkeypatch):
    messages = []
    monkeypatch.setattr(steps, 'print_log', lambda message, **_: messages.append(message))
    steps.warn_of_feedback.cache_clear()
    model = build(**options)
    for _ in range(2):
        model(**model.data_preprocessor(marked(*rows), True), mode='loss')
    assert len([each for each in messages if "stage='teacher'" in each]) == said


def test_a_missing_truth_is_a_clear_error():
    model = build()
    data = batch()
    for sample in data['data_samples']:
        del sample.gt_img
    with pytest.raises(ValueError, match=r'no ground truth \(gt_img\).*WithoutTruth'):
        model(**model.data_preprocessor(data, True), mode='loss')


@pytest.mark.slow
def test_a_run_of_both_kinds_by_one_dataloader(tmp_path):
    settings = config(write_data(tmp_path / 'data'), tmp_path / 'run', cascade_model())
    dataset = settings.train_dataloader.dataset.dataset.to_dict()
    bare = copy.deepcopy(dataset)
    bare['data_prefix'] = {'img': 'img'}
    bare['pipeline'] = [step for step in bare['pipeline'] if step.get('key') != 'gt']
    bare['pipeline'].insert(1, {'type': 'WithoutTruth'})
    both = {'type': 'ConcatDataset', 'datasets': [dataset, bare]}
    settings.train_dataloader.dataset.dataset = both
    settings.train_dataloader.sampler = {'type': 'MixedSampler', 'batch_size': 2, 'ratio': (1, 1)}
    runner = run_training(settings)
    assert runner.iter == 4
    assert all(torch.isfinite(value).all() for value in runner.model.state_dict().values())
    log = runner.message_hub.get_scalar('train/psnr_student').data[0]
    assert len(log) == 4


def test_the_mark_stands_where_a_truth_would():
    image = np.zeros((2, 3, 3), np.uint8)
    results = {'img': image, 'img_path': 'a.png', 'img_channel_order': 'rgb'}
    marked = WithoutTruth()(results)
    assert marked['gt'].shape == (2, 3, 3)
    assert np.isnan(marked['gt']).all()
    assert (marked['gt_path'], marked['gt_channel_order']) == ('a.png', 'rgb')
    thrown_away = WithoutTruth()({'img': image, 'gt': image, 'gt_path': 'b.png', 'img_path': 'a'})
    assert np.isnan(thrown_away['gt']).all()
    assert thrown_away['gt_path'] == 'b.png'
    with pytest.raises(KeyError, match='after the transforms that load'):
        WithoutTruth()({'gt': image})


def test_training_steps_do_not_touch_the_unlabelled_in_a_plain_model_unseen():
    plain = MODELS.build(plain_model())
    log = plain.train_step(marked(1), OptimWrapper(torch.optim.SGD(plain.parameters(), lr=0.1)))
    assert torch.isnan(log['loss'])


def test_region_maps_go_past_the_mark():
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'WithoutTruth'}, {'type': 'PackInputs'}]
    moved = add_regions_to_pipeline(pipeline, 'cache')
    assert [step['type'] for step in moved][1:3] == ['LoadRegionMap', 'WithoutTruth']
