"""Patches grow and batches shrink exactly when they should, images with truths and regions."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from toy import cascade_model, config, plain_model, write_data

from mmsamdistill.engine import ProgressivePatchHook

# The published stages: swz30/Restormer, Deraining/Options/Deraining_Restormer.yml.
ITERS = [92_000, 64_000, 48_000, 36_000, 36_000, 24_000]
SIZES = [128, 160, 192, 256, 320, 384]
BATCHES = [8, 5, 4, 2, 1, 1]


class FakeRunner:
    """What the hook needs of a runner."""

    def __init__(self, iteration=0, seed=0):
        self.iter = iteration
        self.seed = seed
        self.logger = self
        self.messages = []

    def info(self, message):
        self.messages.append(message)


def make_batch(count=8, size=384):
    """Images whose values say where a pixel lies: row and column, in truth and regions as well."""
    from mmagic.structures import DataSample

    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing='ij')
    place = rows * size + columns
    images, samples = [], []
    for index in range(count):
        image = torch.stack([rows, columns, torch.full_like(rows, index)]).float()
        sample = DataSample(gt_img=image + 1000)
        sample.set_field(place[None].int(), 'regions')
        images.append(image)
        samples.append(sample)
    return {'inputs': images, 'data_samples': samples}


@pytest.mark.parametrize('stage', range(len(ITERS)))
def test_published_stages_begin_and_end_at_the_exact_iteration(stage):
    hook = ProgressivePatchHook(ITERS, SIZES, BATCHES)
    first, last = sum(ITERS[:stage]), sum(ITERS[: stage + 1]) - 1
    for iteration in (first, last):  # of the official code: iterations first + 1 and last + 1
        data = make_batch()
        hook.before_train_iter(FakeRunner(iteration), 0, data)
        assert len(data['inputs']) == len(data['data_samples']) == BATCHES[stage]
        assert {tuple(image.shape) for image in data['inputs']} == {(3, SIZES[stage], SIZES[stage])}


def test_last_stage_goes_on():
    hook = ProgressivePatchHook(ITERS, SIZES, BATCHES)
    assert hook.stage_of(sum(ITERS)) == hook.stage_of(10**9) == len(ITERS) - 1


def test_image_truth_and_regions_are_of_one_place():
    hook, places, chosen = ProgressivePatchHook([5000], [5], [2]), set(), set()
    for iteration in range(200):
        data = make_batch(count=4, size=8)
        hook.before_train_iter(FakeRunner(iteration), 0, data)
        origins = set()
        for image, sample in zip(data['inputs'], data['data_samples'], strict=True):
            assert torch.equal(sample.gt_img, image + 1000)
            assert torch.equal(sample.regions[0], (image[0] * 8 + image[1]).int())
            origins.add((int(image[0, 0, 0]), int(image[1, 0, 0])))
        assert len(origins) == 1  # one square for the batch, as in the official code
        places |= origins
        chosen.add(tuple(int(image[2, 0, 0]) for image in data['inputs']))
    assert places == {(row, column) for row in range(4) for column in range(4)}
    assert chosen == {(a, b) for a in range(4) for b in range(4) if a != b}


def test_a_full_batch_of_the_right_size_stays_as_it_is():
    data = make_batch(count=2, size=8)
    images = list(data['inputs'])
    ProgressivePatchHook([10], [8], [2]).before_train_iter(FakeRunner(), 0, data)
    assert all(a is b for a, b in zip(data['inputs'], images, strict=True))


def place_of(iteration=0, seed=0):
    data = make_batch(count=4, size=64)
    hook = ProgressivePatchHook([10], [8], [2])
    hook.before_train_iter(FakeRunner(iteration, seed), 0, data)
    return [tuple(image[:, 0, 0].tolist()) for image in data['inputs']]


def test_draws_depend_on_seed_process_and_iteration_alone(monkeypatch):
    torch.manual_seed(1)
    np.random.seed(1)
    first = place_of()
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    torch.manual_seed(2)
    assert place_of() == first
    assert place_of(iteration=1) != first
    assert place_of(seed=1) != first
    monkeypatch.setattr('mmsamdistill.engine.batches.get_rank', lambda: 1)
    assert place_of() != first
    torch.set_rng_state(state[0])
    place_of()
    assert torch.equal(torch.get_rng_state(), state[0])  # nobody else's numbers are used up
    assert (np.random.get_state()[1] == state[1]).all()


def test_each_stage_is_announced_once():
    hook, runner = ProgressivePatchHook([2, 2], [4, 8], [2, 1]), FakeRunner()
    for runner.iter in range(5):
        hook.before_train_iter(runner, 0, make_batch(count=2, size=8))
    assert len(runner.messages) == 2
    assert '4x4' in runner.messages[0]
    assert '8x8' in runner.messages[1]


@pytest.mark.parametrize(
    ('lists', 'message'),
    [
        (([], [], []), 'one entry for each stage'),
        (([1, 2], [8], [1, 1]), 'one entry for each stage'),
        (([0], [8], [1]), 'iters must be'),
        (([1], [8.0], [1]), 'patch_sizes must be'),
        (([1], [8], [-1]), 'batch_sizes must be'),
    ],
)
def test_senseless_stages_are_refused(lists, message):
    with pytest.raises(ValueError, match=message):
        ProgressivePatchHook(*lists)


@pytest.mark.parametrize(
    ('size', 'count', 'message'), [(8, 3, 'batch_size'), (9, 2, 'gt_patch_size')]
)
def test_too_small_a_batch_or_patch_is_refused(size, count, message):
    hook = ProgressivePatchHook([1], [size], [count])
    with pytest.raises(ValueError, match=message):
        hook.before_train_iter(FakeRunner(), 0, make_batch(count=2, size=8))


class Watch(Hook):
    """Keeps the shape of what reaches the network, and stops the run if wanted."""

    def __init__(self, stop=None):
        self.seen = []
        self.stop = stop

    def before_run(self, runner):
        runner.model.register_forward_pre_hook(self._look, with_kwargs=True)

    def _look(self, model, args, kwargs):
        if kwargs.get('mode') == 'loss':
            regions = kwargs['data_samples'].regions
            assert regions.shape[-2:] == kwargs['inputs'].shape[-2:]
            self.seen.append(tuple(kwargs['inputs'].shape))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.stop:
            raise KeyboardInterrupt


def run(data, work_dir, stop=None, **changes):
    hook = {'type': 'ProgressivePatchHook', 'iters': [2, 1, 9]}
    hook |= {'patch_sizes': [8, 12, 16], 'batch_sizes': [2, 2, 1]}
    hooks = [hook, {'type': 'MixupHook', 'probability': 1.0}, {'type': 'RandomStateHook'}]
    settings = config(data, work_dir, cascade_model(), custom_hooks=hooks, **changes)
    settings.train_cfg.update(max_iters=6, val_interval=6)
    runner, watch = Runner.from_cfg(settings), Watch(stop)
    runner.register_hook(watch, priority='LOWEST')
    if stop is None:
        runner.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    return runner, watch.seen


@pytest.mark.slow
def test_training_sees_the_stages_and_a_resumed_run_equals_the_uninterrupted_one(tmp_path):
    data = write_data(tmp_path / 'data')
    shapes = [(2, 3, 8, 8), (2, 3, 8, 8), (2, 3, 12, 12), *[(1, 3, 16, 16)] * 3]
    whole, seen = run(data, tmp_path / 'whole')
    assert seen == shapes
    run(data, tmp_path / 'broken', stop=3)  # the last checkpoint is that of iteration 2
    resumed, seen = run(data, tmp_path / 'broken', resume=True)
    assert seen == shapes[2:]
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key


@pytest.mark.slow
def test_plain_restorers_need_no_regions(tmp_path):
    data = write_data(tmp_path / 'data')
    hook = {'type': 'ProgressivePatchHook', 'iters': [9], 'patch_sizes': [8], 'batch_sizes': [1]}
    settings = config(data, tmp_path / 'run', plain_model(), custom_hooks=[hook])
    Runner.from_cfg(settings).train()


@pytest.mark.slow
def test_a_pipeline_of_smaller_patches_is_refused(tmp_path):
    data = write_data(tmp_path / 'data')
    hook = {'type': 'ProgressivePatchHook', 'iters': [9], 'patch_sizes': [32], 'batch_sizes': [1]}
    settings = config(data, tmp_path / 'run', plain_model(), custom_hooks=[hook])
    with pytest.raises(ValueError, match='gt_patch_size'):
        Runner.from_cfg(settings).train()
    assert cv2.imread(str(data / 'gt/0.png')).shape == (32, 32, 3)
