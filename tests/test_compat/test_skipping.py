"""A resumed run loads nothing that was seen, and then sees what an uninterrupted one sees."""

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmagic.registry import TRANSFORMS
from mmengine.hooks import Hook
from mmengine.runner import Runner, loops
from toy import config, plain_model, write_data

from mmsamdistill.compat.skipping import NumberedBatches, SeededBatch

STEPS, SAVED, BATCH = 7, 4, 2


@TRANSFORMS.register_module()
class NoteRead:
    """Writes down which image is about to be read, and draws from all three generators."""

    def __init__(self, file):
        self.file = file

    def __call__(self, results):
        drawn = (np.random.random(), random.random(), torch.rand(()).item())
        with Path(self.file).open('a') as file:
            file.write(f'{Path(results["gt_path"]).stem} {drawn}\n')
        return results


class NoteBatches(Hook):
    """Keeps what the model is given."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append(torch.stack(data_batch['inputs']).clone())


def train(data, work_dir, file, sampler, loop, workers, until=STEPS, resume=False):
    """Train for some steps; what the model was given, and what was read."""
    cfg = config(data, work_dir, plain_model(), resume=resume)
    loader = cfg.train_dataloader
    loader.num_workers, loader.persistent_workers = workers, workers > 0
    loader.dataset.pipeline.insert(0, {'type': 'NoteRead', 'file': str(file)})
    loader.sampler = {'type': sampler}
    if sampler == 'MixedSampler':
        loader.sampler = {'type': sampler, 'batch_size': BATCH, 'ratio': (1, 1)}
        loader.dataset = {'type': 'ConcatDataset', 'datasets': [loader.dataset, loader.dataset]}
    if loop == 'EpochBasedTrainLoop':
        cfg.train_cfg = {'type': loop, 'max_epochs': 2, 'val_interval': 9}
    else:
        cfg.train_cfg = {'type': loop, 'max_iters': until, 'val_interval': 99}
    cfg.default_hooks.checkpoint.interval = SAVED
    runner, hook = Runner.from_cfg(cfg), NoteBatches()
    runner.register_hook(hook)
    runner.train()
    return hook.seen, file.read_text().splitlines()


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)
    return write_data(tmp_path / 'data', count=5)


@pytest.mark.slow  # two whole runs each
@pytest.mark.parametrize(
    ('sampler', 'loop', 'workers', 'seen'),
    [
        ('InfiniteSampler', 'IterBasedTrainLoop', 0, 8),
        ('InfiniteSampler', 'IterBasedTrainLoop', 1, 8),
        # In the middle of the second epoch, of three batches each.
        ('DefaultSampler', 'IterBasedTrainLoop', 1, 7),
        ('DefaultSampler', 'EpochBasedTrainLoop', 0, 7),
        ('DefaultSampler', 'EpochBasedTrainLoop', 1, 7),
        ('MixedSampler', 'IterBasedTrainLoop', 1, 8),
    ],
)
def test_a_resumed_run_reads_nothing_seen(data, tmp_path, sampler, loop, workers, seen):
    args = (sampler, loop, workers)
    whole, all_reads = train(data, tmp_path / 'run', tmp_path / 'whole.txt', *args)
    checkpoint = tmp_path / 'run' / f'iter_{SAVED}.pth'
    (tmp_path / 'run/last_checkpoint').write_text(str(checkpoint))
    for path in (tmp_path / 'run').glob('*.pth'):
        if path != checkpoint:
            path.unlink()
    resumed, reads = train(data, tmp_path / 'run', tmp_path / 'resumed.txt', *args, resume=True)
    assert len(resumed) == len(whole) - SAVED > 0
    assert all(map(torch.equal, resumed, whole[SAVED:]))
    assert not any(map(torch.equal, whole, resumed))
    # Each line holds an image and what was drawn for it; workers read ahead, as far as they get.
    length = min(len(reads), len(all_reads) - seen)
    assert length >= sum(len(batch) for batch in resumed)
    assert reads[:length] == all_reads[seen : seen + length]
    assert not set(all_reads[:seen]) & set(reads)


@pytest.mark.slow  # two runs
def test_the_number_of_workers_changes_nothing(data, tmp_path):
    args = ('InfiniteSampler', 'IterBasedTrainLoop')
    one, _ = train(data, tmp_path / 'one', tmp_path / '1.txt', *args, 0, until=2)
    two, _ = train(data, tmp_path / 'two', tmp_path / '2.txt', *args, 2, until=2)
    assert all(map(torch.equal, one, two))


def test_a_batch_brings_its_random_numbers_along():
    def draws(batch):
        return [(i, np.random.random(), random.random(), torch.rand(()).item()) for i in batch]

    batches = NumberedBatches([[1, 2], [3], [4]], seed=5)
    first, second, _ = batches
    assert (first, batches.number) == ([1, 2], 3)
    wanted = draws(second)
    assert draws(pickle.loads(pickle.dumps(second))) == wanted  # as it goes to a worker
    batches = NumberedBatches([[1, 2], [3], [4]], seed=5)
    assert batches.skip(1) == 0
    assert draws(next(iter(batches))) == wanted
    assert draws(SeededBatch([3], 6, 0, 2)) != wanted
    assert batches.skip(7) == 4


@pytest.mark.parametrize('fork', [False, True])
def test_both_ways_of_loops_to_skip_end_at_the_same_batch(fork):
    numbers = list(range(10))
    loader = torch.utils.data.DataLoader(numbers, batch_size=2)
    batches = NumberedBatches(loader.batch_sampler, 0)
    object.__setattr__(loader, 'batch_sampler', batches)
    iterator = loops._InfiniteDataloaderIterator(loader)
    iterator.skip(3)
    if fork:  # onedl-mmengine says once how many are to be skipped
        iterator.skip_iter(3)
    else:
        assert [next(iterator) for _ in range(3)] == [None] * 3
    assert next(iterator).tolist() == [6, 7]
