"""tools/train.py as processes: two that train together, and one that is told to stop."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from processes import context
from toy import cascade_model, config, plain_model, run_training, write_data
from workers import call_tool

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def environment(**more):
    path = os.pathsep.join([str(ROOT / 'tests'), os.environ.get('PYTHONPATH', '')])
    return {
        **os.environ,
        'PYTHONPATH': path,
        'PYTHON': sys.executable,
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
        **more,
    }


def written(settings, path):
    """The config as a file, with the toy networks imported."""
    settings.custom_imports.imports.append('toy')
    settings.dump(str(path))
    return path


def same_batches(settings, batch_size):
    """Nothing drawn, so that only the division among the processes differs."""
    loader = settings.train_dataloader
    loader.batch_size = batch_size
    loader.sampler.shuffle = False
    dataset = loader.dataset.dataset
    dataset.pipeline = [
        step for step in dataset.pipeline if step['type'] not in ('PairedRandomCrop', 'Flip')
    ]
    settings.val_dataloader = settings.val_evaluator = settings.val_cfg = None
    settings.optim_wrapper.optimizer = {'type': 'SGD', 'lr': 1e-3}
    settings.train_cfg = {'type': 'IterBasedTrainLoop', 'max_iters': 3}
    return settings


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path):
    data = write_data(tmp_path / 'data')
    nothing = np.zeros((32, 32), np.uint16)
    cv2.imwrite(str(data / 'regions/0.png'), nothing)  # in the first process alone
    model = cascade_model(
        sgr_loss={'type': 'SGRLoss'},
        analyzer={'type': 'VGGAnalyzer', 'weights': 'random', 'layers': ('relu1_2',)},
        teacher_interval=2,
    )
    run_training(same_batches(config(data, tmp_path / 'one', model), 4))
    settings = same_batches(config(data, tmp_path / 'two', model), 2)
    settings.find_unused_parameters = True
    path = written(settings, tmp_path / 'two.py')
    done = subprocess.run(
        ['bash', str(ROOT / 'tools/dist_train.sh'), str(path), '2'],
        env=environment(PORT=str(29600 + os.getpid() % 300)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (
        torch.load((tmp_path / name / 'last_checkpoint').read_text(), weights_only=True)
        for name in ('one', 'two')
    )
    for key, value in one['state_dict'].items():
        torch.testing.assert_close(two['state_dict'][key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_terminated_process_saves_and_ends_well(tmp_path):
    data = write_data(tmp_path / 'data')
    settings = config(data, tmp_path / 'run', plain_model(), val_cfg=None)
    settings.val_dataloader = settings.val_evaluator = None
    settings.train_cfg = {'type': 'IterBasedTrainLoop', 'max_iters': 10**6}
    settings.train_dataloader.num_workers = 1  # which hears of the signal as well
    settings.default_hooks.checkpoint.interval = 10**6
    path = written(settings, tmp_path / 'run.py')
    process = context().Process(target=call_tool, args=(ROOT / 'tools/train.py', str(path)))
    process.start()
    until = time.time() + 100
    while time.time() < until and not list((tmp_path / 'run').glob('*/vis_data/scalars.json')):
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGUSR1)
    process.join(60)
    assert process.exitcode == 0
    assert (tmp_path / 'run/run.json').is_file()
    last = Path((tmp_path / 'run/last_checkpoint').read_text())
    assert torch.load(last, weights_only=True)['meta']['iter'] >= 1
