"""Checkpoints written whole, removed late, and only where they are this run's own."""

import os

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from toy import config, plain_model, run_training, write_data


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / 'data')


def saving(**options):
    return {
        'logger': {'type': 'LoggerHook', 'interval': 1},
        'checkpoint': {'type': 'CheckpointHook', 'interval': 2, 'by_epoch': False, **options},
    }


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


class Killed(Exception):
    pass


def killed_at_write(monkeypatch, number):
    """Have the n-th checkpoint's write end half-way, as a kill or a full disk would."""
    save, calls = torch.save, []

    def dying(content, file, *args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            file.write(b'half of it')
            raise Killed
        save(content, file, *args, **kwargs)

    monkeypatch.setattr(torch, 'save', dying)


def test_what_the_hosts_files_are_put_into_stays_until_it_is_whole(tmp_path, monkeypatch):
    path = tmp_path / 'iter_2.pth'
    LocalBackend().put(b'old', path)

    def dying(*_):
        raise Killed

    monkeypatch.setattr('os.replace', dying)
    with pytest.raises(Killed):
        LocalBackend().put(b'new', path)
    assert path.read_bytes() == b'old'
    assert names(tmp_path) == ['iter_2.pth']


@pytest.mark.slow
@pytest.mark.parametrize('keep', [-1, 1])
def test_a_write_that_ends_half_way_costs_the_new_file_only(data, tmp_path, monkeypatch, keep):
    hooks = saving(max_keep_ckpts=keep)
    killed_at_write(monkeypatch, 2)
    with pytest.raises(Killed):
        run_training(config(data, tmp_path / 'run', plain_model(), default_hooks=hooks))
    monkeypatch.undo()
    last = (tmp_path / 'run/last_checkpoint').read_text()
    assert last.endswith('iter_2.pth')
    assert torch.load(last, weights_only=True)['meta']['iter'] == 2
    assert not [name for name in names(tmp_path / 'run') if 'iter_4' in name]


@pytest.mark.slow
def test_the_old_best_is_kept_until_the_new_one_is_whole(data, tmp_path, monkeypatch):
    loop = {'type': 'IterBasedTrainLoop', 'max_iters': 4, 'val_interval': 1}
    hooks = saving(save_best='PSNR', rule='greater', interval=10)
    killed_at_write(monkeypatch, 2)  # the best of iteration 2, after that of iteration 1
    with pytest.raises(Killed):
        run_training(
            config(data, tmp_path / 'run', plain_model(), default_hooks=hooks, train_cfg=loop)
        )
    assert 'best_PSNR_iter_1.pth' in names(tmp_path / 'run')


@pytest.mark.slow
def test_a_best_that_is_saved_again_under_its_own_name_stays(data, tmp_path):
    hooks = saving(save_best='PSNR', rule='greater')
    runner = run_training(config(data, tmp_path / 'run', plain_model(), default_hooks=hooks))
    hook = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    hook._save_best_checkpoint(runner, {'PSNR': 1000.0})  # as a validation that is made up for
    assert hook.best_ckpt_path.endswith('best_PSNR_iter_4.pth')
    assert os.path.isfile(hook.best_ckpt_path)


@pytest.mark.slow
def test_one_checkpoint_is_kept_and_nothing_half_written(data, tmp_path):
    work_dir = tmp_path / 'run'
    run_training(config(data, work_dir, plain_model(), default_hooks=saving(max_keep_ckpts=1)))
    left = names(work_dir)
    assert [name for name in left if name.startswith('iter_')] == ['iter_4.pth']
    assert not [name for name in left if name.startswith('.')]


@pytest.mark.slow
def test_a_resumed_run_that_is_to_keep_fewer_keeps_the_newest(data, tmp_path):
    def run(iterations, keep):
        loop = {'type': 'IterBasedTrainLoop', 'max_iters': iterations, 'val_interval': 9}
        hooks = saving(interval=1, max_keep_ckpts=keep)
        changes = {'train_cfg': loop, 'default_hooks': hooks, 'resume': True}
        run_training(config(data, tmp_path / 'run', plain_model(), **changes))
        return [name for name in names(tmp_path / 'run') if name.startswith('iter_')]

    assert run(4, 3) == ['iter_2.pth', 'iter_3.pth', 'iter_4.pth']
    assert run(6, 2) == ['iter_5.pth', 'iter_6.pth']
    assert run(7, 1) == ['iter_7.pth']


class Hostile(Hook):
    """Writes into the message hub what a doctored checkpoint would bring."""

    priority = 'VERY_HIGH'

    def __init__(self, **info):
        self.info = info

    def before_train(self, runner):
        for name, value in self.info.items():
            runner.message_hub.update_info(name, value)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['file', 'folder', 'elsewhere', 'link', 'number'])
def test_only_checkpoints_in_the_work_directory_are_ever_removed(data, tmp_path, kind):
    work_dir, other = tmp_path / 'run', tmp_path / 'other'
    for folder in (work_dir, other):
        folder.mkdir()
    victim = {
        'file': work_dir / 'thesis.txt',
        'folder': work_dir / 'best_PSNR_iter_1.pth',
        'elsewhere': other / 'best_PSNR_iter_1.pth',
        'link': work_dir / 'sub/best_PSNR_iter_1.pth',
        'number': tmp_path / 'none',
    }[kind]
    if kind == 'link':
        os.symlink(other, work_dir / 'sub')
    if kind == 'folder':
        victim.mkdir()
        victim = victim / 'inside'
    victim.write_text('mine')
    best = 7 if kind == 'number' else str(victim.parent if kind == 'folder' else victim)
    runner = Runner.from_cfg(
        config(data, work_dir, plain_model(), default_hooks=saving(save_best='PSNR', rule='less'))
    )
    runner.register_hook(Hostile(best_ckpt=best, keep_ckpt_ids=['/../thesis', 2, {}]))
    runner.train()
    assert victim.read_text() == 'mine'
    assert [name for name in names(work_dir) if name.startswith('best_')] == [
        'best_PSNR_iter_4.pth'
    ]


class Poison(Hook):
    def __init__(self, average):
        self.average = average

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        averages = [each.ema_model.module for each in runner.hooks if hasattr(each, 'ema_model')]
        (model,) = averages if self.average else [runner.model]
        with torch.no_grad():
            model.generator.last.bias[0] = float('nan')


@pytest.mark.slow
@pytest.mark.parametrize('poisoned', ['', 'model', 'average'])
def test_weights_that_are_no_numbers_are_never_best(data, tmp_path, monkeypatch, poisoned):
    from mmagic.evaluation import PSNR

    # A metric that does not notice, as one of rounded and clipped images does.
    monkeypatch.setattr(PSNR, 'evaluate', lambda metric: {'PSNR': 30.0})
    hooks = saving(save_best='PSNR', rule='greater')
    hooks['average'] = {'type': 'EMAHook'}
    runner = Runner.from_cfg(config(data, tmp_path / 'run', plain_model(), default_hooks=hooks))
    if poisoned:
        runner.register_hook(Poison(poisoned == 'average'))
    runner.train()
    best = [name for name in names(tmp_path / 'run') if name.startswith('best_')]
    assert best == ([] if poisoned else ['best_PSNR_iter_4.pth'])


@pytest.mark.slow
def test_an_unknown_best_metric_says_which_there_are(data, tmp_path):
    hooks = saving(save_best='SSIM', rule='greater')
    with pytest.raises(KeyError, match=r"save_best='SSIM'.*'PSNR'"):
        run_training(config(data, tmp_path / 'run', plain_model(), default_hooks=hooks))


@pytest.mark.slow
def test_a_best_of_several_sets_is_named_before_training(data, tmp_path):
    hooks = saving(save_best='PSNR', rule='greater')
    settings = config(data, tmp_path / 'run', plain_model(), default_hooks=hooks)
    loader = settings.val_dataloader.to_dict()
    settings.val_dataloader = [loader, loader]
    settings.val_evaluator = [[{'type': 'PSNR', 'prefix': name}] for name in ('Set5', 'Set14')]
    with pytest.raises(KeyError, match=r"'Set5/PSNR' or 'Set14/PSNR'"):
        run_training(settings)
    assert not list((tmp_path / 'run').glob('*.pth'))
