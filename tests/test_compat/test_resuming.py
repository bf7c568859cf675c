"""Starting from complete weights, resuming from what is whole, executing nothing."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from toy import cascade_model, config, plain_model, run_training, write_data

from mmsamdistill.weights import CheckpointError


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / 'data')


@pytest.fixture
def network():
    from mmagic.registry import MODELS

    torch.manual_seed(3)
    return MODELS.build(plain_model()).generator.state_dict()


def started(data, work_dir, model=None, **changes):
    """A Runner that has loaded or resumed, and trained nothing."""
    runner = Runner.from_cfg(config(data, work_dir, model or plain_model(), **changes))
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    runner.call_hook('before_run')
    runner._init_model_weights()
    runner.load_or_resume()
    return runner


def trained(data, work_dir, model=None, **changes):
    settings = {
        'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 4, 'val_interval': 9},
        **changes,
    }
    run_training(config(data, work_dir, model or plain_model(), **settings))
    return work_dir


DIALECTS = {
    'bare': lambda net: net,
    'params': lambda net: {'params': net},
    'params_ema': lambda net: {'params': {k: v + 1 for k, v in net.items()}, 'params_ema': net},
    'ddp': lambda net: {'state_dict': {f'module.{k}': v for k, v in net.items()}},
    'mmagic': lambda net: {'state_dict': {f'generator.{k}': v for k, v in net.items()}},
    'cascade': lambda net: {
        'state_dict': {
            **{f'restorer.generator.{k}': v for k, v in net.items()},
            **{f'teacher.generator.{k}': v + 1 for k, v in net.items()},
        }
    },
}


@pytest.mark.slow
@pytest.mark.parametrize('dialect', DIALECTS)
@pytest.mark.parametrize('averaged', [False, True])
def test_a_plain_run_starts_from_any_dialect(data, tmp_path, network, dialect, averaged):
    torch.save(DIALECTS[dialect](network), tmp_path / 'net.pth')
    hooks = [{'type': 'EMAHook'}] if averaged else []
    runner = started(
        data, tmp_path / 'run', load_from=str(tmp_path / 'net.pth'), custom_hooks=hooks
    )
    models = [runner.model]
    models += [hook.ema_model.module for hook in runner.hooks if hasattr(hook, 'ema_model')]
    assert len(models) == 1 + averaged
    for model in models:
        for key, value in network.items():
            assert torch.equal(model.generator.state_dict()[key], value), key


@pytest.mark.slow
def test_what_was_trained_is_not_loaded_over_by_what_it_started_from(data, tmp_path, network):
    torch.save({'params': network}, tmp_path / 'net.pth')
    runner = started(data, tmp_path / 'run', load_from=str(tmp_path / 'net.pth'))
    with torch.no_grad():
        runner.model.generator.last.bias.add_(1)
    runner.load_or_resume()  # as a test after the training does
    assert torch.equal(runner.model.generator.last.bias, network['last.bias'] + 1)


@pytest.mark.slow
@pytest.mark.parametrize('way', ['load_from', 'init_cfg'])
def test_partial_and_wide_weights_are_refused_by_name(data, tmp_path, network, way):
    path = tmp_path / 'net.pth'
    wide = {key: torch.cat([value, value]) for key, value in network.items()}
    partial = {key: value for key, value in network.items() if key != 'last.bias'}
    for weights, named in ((wide, r'first\.weight is'), (partial, r'1 missing: .*last\.bias')):
        torch.save({'params': weights}, path)
        model, changes = plain_model(), {}
        if way == 'load_from':
            changes['load_from'] = str(path)
        else:
            model['init_cfg'] = {'type': 'Pretrained', 'checkpoint': str(path)}
        with pytest.raises(ValueError, match=rf'net\.pth: [\s\S]*{named}'):
            started(data, tmp_path / 'run', model, **changes)


@pytest.mark.slow
def test_init_cfg_reads_dialects_and_prefixes(data, tmp_path, network):
    path = tmp_path / 'net.pth'
    several = {f'net2.{k}': v + 1 for k, v in network.items()} | {'fc': torch.ones(1)}
    several |= {f'net.{k}': v for k, v in network.items()}
    for weights, prefix in (({'params': network}, None), ({'state_dict': several}, 'net')):
        torch.save(weights, path)
        init = {'type': 'Pretrained', 'checkpoint': str(path), 'prefix': prefix}
        runner = started(data, tmp_path / 'run', plain_model(init_cfg=init))
        assert torch.equal(runner.model.generator.first.weight, network['first.weight'])


@pytest.mark.slow
def test_auto_resume_starts_from_load_from_the_first_time(data, tmp_path, network):
    torch.save({'params': network}, tmp_path / 'net.pth')
    settings = {'load_from': str(tmp_path / 'net.pth'), 'resume': 'auto'}
    runner = started(data, tmp_path / 'run', **settings)
    assert runner.iter == 0
    assert torch.equal(runner.model.generator.first.weight, network['first.weight'])
    trained(data, tmp_path / 'run')
    runner = started(data, tmp_path / 'run', **settings)
    assert runner.iter == 4


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_not_started_from(data, tmp_path, network):
    network['last.bias'][1] = float('nan')
    torch.save({'params': network}, tmp_path / 'net.pth')
    with pytest.raises(CheckpointError, match=r'net\.pth .* generator\.last\.bias is not finite'):
        started(data, tmp_path / 'run', load_from=str(tmp_path / 'net.pth'))


@pytest.mark.slow
def test_settings_that_a_resumed_run_does_not_take_from_its_config_are_told(data, tmp_path):
    run = trained(data, tmp_path / 'run')
    wrapper = {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 1e-3}}
    schedule = {'type': 'CosineAnnealingLR', 'by_epoch': False, 'T_max': 4}

    def told(**changes):
        options = {'optim_wrapper': wrapper, 'param_scheduler': schedule, **changes}
        runner = started(data, run, resume=True, log_level='INFO', **options)
        (log,) = Path(runner.log_dir).glob('*.log')
        lines = log.read_text().splitlines()
        return [line for line in lines if 'resumed as' in line or 'beyond' in line]

    assert told() == []
    faster = {**wrapper, 'optimizer': {'type': 'AdamW', 'lr': 0.5}}
    (line,) = told(optim_wrapper=faster)
    assert 'AdamW.param_groups[0].initial_lr = 0.001 (config: 0.5)' in line
    (line,) = told(param_scheduler={**schedule, 'T_max': 8})
    assert 'param_scheduler[0].T_max = 4 (config: 8)' in line
    shorter = {'type': 'IterBasedTrainLoop', 'max_iters': 3, 'val_interval': 9}
    assert any('beyond max_iters=3' in line for line in told(train_cfg=shorter))
    other = {**wrapper, 'optimizer': {'type': 'SGD', 'lr': 1e-3}}
    with pytest.raises(ValueError, match=r'iter_4\.pth is of another optimiser than SGD.*momentum'):
        told(optim_wrapper=other)


@pytest.mark.slow
def test_resume_skips_what_is_torn_and_says_so(data, tmp_path, monkeypatch):
    run = trained(data, tmp_path / 'run')
    newest, note = run / 'iter_4.pth', run / 'last_checkpoint'
    whole = newest.read_bytes()

    def warned(runner):
        (log,) = Path(runner.log_dir).glob('*.log')
        return log.read_text()

    quiet = {'resume': True, 'log_level': 'INFO', 'custom_hooks': []}
    middle = bytearray(whole)
    middle[len(whole) // 2] ^= 0xFF
    for torn in (b'', whole[:-30], whole[: len(whole) // 2], bytes(middle)):
        newest.write_bytes(torn)
        runner = started(data, run, **quiet)
        assert runner.iter == 2
        assert 'not resumed from' in warned(runner)
        assert 'iter_4.pth' in warned(runner)
    newest.write_bytes(whole)
    for text in ('', str(run / 'gone.pth'), '/elsewhere/run/iter_4.pth', '\0\0', str(run)):
        note.write_text(text)
        assert started(data, run, **quiet).iter == 4, text
    for path in run.glob('iter_*.pth'):
        path.write_bytes(b'torn')
    with pytest.raises(CheckpointError, match='is whole:'):
        started(data, run, **quiet)


@pytest.mark.slow
def test_what_was_written_after_the_note_is_newer_and_an_older_run_is_not(data, tmp_path):
    run = trained(data, tmp_path / 'run')
    shutil.copy(run / 'iter_2.pth', run / 'best_PSNR_iter_9.pth')  # what is best is not newest
    (run / 'last_checkpoint').write_text(str(run / 'iter_2.pth'))
    os.utime(run / 'last_checkpoint', (1, 1))  # killed before the note was renewed
    assert started(data, run, resume=True).iter == 4
    assert Path((run / 'last_checkpoint').read_text()).samefile(run / 'iter_4.pth')
    (run / 'last_checkpoint').write_text(str(run / 'iter_2.pth'))
    os.utime(run / 'iter_4.pth', (1, 1))  # left over from an earlier, longer run
    assert started(data, run, resume=True).iter == 2


@pytest.mark.slow
@pytest.mark.parametrize(('how', 'model'), [('file', plain_model), ('auto', cascade_model)])
def test_nothing_stored_in_a_checkpoint_is_executed(data, tmp_path, how, model):
    once = {'type': 'IterBasedTrainLoop', 'max_iters': 1, 'val_interval': 9}
    run = trained(data, tmp_path / 'run', model(), train_cfg=once)
    marker, path = tmp_path / 'was_here', run / 'iter_1.pth'
    checkpoint = torch.load(path, weights_only=True)
    for key in ('config', 'cfg'):
        checkpoint['meta'][key] = (
            f'import os\nos.mkdir({str(marker)!r})\n'
            "custom_imports = dict(imports=['antigravity_of_nobody'])\ngpu_ids = [0, 1]\n"
        )
    torch.save(checkpoint, path)
    resumed = {'resume': True, 'load_from': str(path)} if how == 'file' else {'resume': 'auto'}
    assert started(data, run, model(), **resumed).iter == 1
    assert not marker.exists()


@pytest.mark.slow
def test_resuming_another_model_or_bare_weights_is_refused(data, tmp_path, network):
    plain, cascade = trained(data, tmp_path / 'plain') / 'iter_4.pth', tmp_path / 'cascade.pth'
    checkpoint = torch.load(plain, weights_only=True)
    weights = {f'restorer.{key}': value for key, value in checkpoint['state_dict'].items()}
    torch.save({**checkpoint, 'state_dict': weights}, cascade)
    for path, model in ((plain, cascade_model()), (cascade, plain_model())):
        with pytest.raises(ValueError, match='give it as load_from'):
            started(data, tmp_path / 'run', model, resume=True, load_from=str(path))
    torch.save({'params': network}, tmp_path / 'net.pth')
    with pytest.raises(CheckpointError, match='no training state'):
        started(data, tmp_path / 'run', resume=True, load_from=str(tmp_path / 'net.pth'))


def test_an_inferencer_does_not_execute_the_stored_config():
    from mmengine.infer.infer import BaseInferencer

    with pytest.raises(ValueError, match=r'a\.pth: the configuration'):
        BaseInferencer._init_model(object(), None, 'a.pth')
