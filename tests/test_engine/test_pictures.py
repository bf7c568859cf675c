"""What is drawn and what is logged of a distillation while it trains."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from toy import batch, cascade_model, config, plain_model, random_analyzer, run_training, write_data

from mmsamdistill.engine import DistillationPictureHook, GradientShareHook
from mmsamdistill.engine.hooks.gradient_shares import gradient_shares
from mmsamdistill.engine.hooks.pictures import draw_row

HEIGHT, TITLE, GAP = 96, 18, 4


class Keep:
    """A visualizer that keeps what it is given."""

    def __init__(self):
        self.images = {}

    def add_image(self, name, image, step):
        self.images[name, step] = image


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp('data'))


def runner_of(data, work_dir, model, with_regions=True):
    settings = config(data, work_dir, model)
    if with_regions:
        dataset = settings.val_dataloader.dataset.to_dict()
        settings.val_dataloader.dataset = {
            'type': 'RegionDataset',
            'dataset': dataset,
            'regions': str(data / 'regions'),
        }
    runner = Runner.from_cfg(settings)
    runner.val_loop  # noqa: B018  (built at its first use)
    runner.visualizer = Keep()
    return runner


def panels_of(image):
    """Cut a row into its pictures, at their own resolution again."""
    count = (image.shape[1] + GAP) // (HEIGHT + GAP)
    cells = [image[TITLE:, i * (HEIGHT + GAP) :][:, :HEIGHT] for i in range(count)]
    return [cell[1::3, 1::3] for cell in cells]


@pytest.mark.slow
def test_panels_are_the_images_regions_and_gate(data, tmp_path):
    import cv2

    runner = runner_of(data, tmp_path, cascade_model())
    DistillationPictureHook(indices=(1, 99)).after_val_epoch(runner)
    ((name, step),) = runner.visualizer.images
    assert (name[:15], step) == ('distillation_1_', 0)
    row = runner.visualizer.images[name, step]
    degraded, student, teacher, truth, regions, gate = panels_of(row)
    for panel, folder in ((degraded, 'img'), (truth, 'gt')):
        assert np.array_equal(panel, cv2.imread(str(data / folder / f'{name[15:]}.png'))[..., ::-1])
    # An untrained SPF is the identity, but two networks never start alike.
    assert not np.array_equal(student, teacher)
    # Four quarters: the boundary is a cross of two pixels width, all else is the student's image.
    cross = np.zeros((32, 32), bool)
    cross[15:17] = cross[:, 15:17] = True
    yellow = (regions == (255, 235, 0)).all(-1)
    assert np.array_equal(yellow, cross)
    assert np.array_equal(regions[~cross], student[~cross])
    closer = np.abs(teacher.astype(int) - truth).sum(-1) < np.abs(student.astype(int) - truth).sum(
        -1
    )
    green = gate[..., 1] > gate[..., 0].astype(int) + 20
    assert 0 < green.sum() < 1024
    assert (green == closer).mean() > 0.98  # panels are rounded, the gate is not


@pytest.mark.slow
def test_without_regions_or_gate(data, tmp_path, monkeypatch):
    runner = runner_of(data, tmp_path / 'a', cascade_model(), with_regions=False)
    warned = []
    monkeypatch.setattr(runner.logger, 'warning', warned.append)
    DistillationPictureHook((0,)).after_val_epoch(runner)
    assert 'no teacher in the pictures' in warned[0]
    (row,) = runner.visualizer.images.values()
    assert len(panels_of(row)) == 3
    model = cascade_model(spd_loss={'type': 'SPDLoss', 'gate': None})
    runner = runner_of(data, tmp_path / 'b', model)
    DistillationPictureHook((0,)).after_val_epoch(runner)
    (row,) = runner.visualizer.images.values()
    gate = panels_of(row)[-1].astype(int)
    assert (gate[..., 1] > gate[..., 0]).all()  # open everywhere


@pytest.mark.slow
def test_every_nth_validation_and_a_plain_model(data, tmp_path):
    runner = runner_of(data, tmp_path / 'a', cascade_model())
    hook = DistillationPictureHook((0,), interval=2)
    for step in range(4):
        runner.train_loop  # noqa: B018
        runner._train_loop._iter = step
        hook.after_val_epoch(runner)
    assert [step for _, step in runner.visualizer.images] == [0, 2]
    plain = runner_of(data, tmp_path / 'b', plain_model(), with_regions=False)
    with pytest.raises(TypeError, match='DistillationPictureHook needs a SAMDistillRestorer'):
        hook.after_val_epoch(plain)


def test_large_images_are_scaled_down():
    row = draw_row(
        {'a': np.zeros((400, 800, 3), np.uint8), 'b': np.zeros((400, 800, 3), np.uint8)}, 200
    )
    assert row.shape == (100 + TITLE, 2 * 200 + GAP, 3)


@pytest.mark.parametrize('wrong', [{'interval': 0}, {'width': 0}, {'indices': (-1,)}])
def test_senseless_pictures(wrong):
    with pytest.raises(ValueError, match='number, at least'):
        DistillationPictureHook(**wrong)


def built(**parts):
    from mmagic.registry import MODELS

    torch.manual_seed(0)
    model = MODELS.build(cascade_model(analyzer=random_analyzer(), **parts))
    return model.train()


def test_shares_are_norms_of_the_students_gradients():
    cascade = built(sgr_loss={'type': 'SGRLoss'}, spd_loss={'type': 'SPDLoss', 'gate': None})
    before = {name: value.clone() for name, value in cascade.state_dict().items()}
    state = torch.get_rng_state()
    del cascade.teacher_interval  # a cascade of one's own may have none
    shares = gradient_shares(cascade, batch())
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in cascade.state_dict().items())
    assert set(shares) == {'rec', 'spd', 'sgr'}
    assert sum(shares.values()) == pytest.approx(1)
    norms = {}
    for name in shares:  # one backward pass each, as training makes it
        cascade.zero_grad()
        data = cascade.data_preprocessor(batch(), True)
        cascade(**data, mode='loss')[f'loss_{name}'].backward()
        gradients = [p.grad.flatten() for p in cascade.restorer.parameters() if p.grad is not None]
        norms[name] = torch.cat(gradients).norm().item()
    total = sum(norms.values())
    assert shares == pytest.approx({name: norm / total for name, norm in norms.items()}, rel=1e-3)


@pytest.mark.slow
def test_a_run_is_the_same_with_the_hook_and_logs_the_shares(data, tmp_path):
    weights = []
    # The teacher rests in the very steps that are looked at.
    for name, hooks in (('a', []), ('b', [{'type': 'GradientShareHook', 'interval': 2}])):
        settings = config(data, tmp_path / name, cascade_model(teacher_interval=2))
        settings.custom_hooks = [*settings.custom_hooks, *hooks]
        runner = run_training(settings)
        weights.append(runner.model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert 0 < runner.message_hub.get_scalar('train/share_spd').current() < 1
    assert len(runner.message_hub.get_scalar('train/share_rec')._log_history) == 2


def test_terms_that_are_dead_or_alone_are_remarked_on_once():
    lines = []
    runner = SimpleNamespace(iter=7, logger=SimpleNamespace(warning=lines.append))
    hook = GradientShareHook(interval=1, dead=0.01, dominant=0.8)
    for share in (0.009, 0.0, 0.5, 0.9, 0.95):
        hook._remark(runner, 'spd', share)
    assert len(lines) == 2
    assert 'iteration 8: loss_spd makes 0.9 %' in lines[0]
    assert 'lower its weight' in lines[1]


@pytest.mark.parametrize('wrong', [{'interval': 0}, {'dead': 0.9}, {'dominant': 1.1}])
def test_senseless_shares(wrong):
    with pytest.raises(ValueError, match=r'interval=0 must|dead < dominant'):
        GradientShareHook(**wrong)
