"""Two processes train one cascade."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy import cascade_model, config, random_analyzer, write_data

import mmsamdistill  # noqa: F401

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not torch.distributed.is_available(), reason='torch without distributed')
def test_ddp_needs_no_search_for_unused_parameters(tmp_path):
    data = write_data(tmp_path / 'data')
    parts = {
        'sgr_loss': {'type': 'SGRLoss'},
        'analyzer': random_analyzer(),
        # Images without any region are the case in which a careless loss loses parameters.
        'regions': {'type': 'NoRegions'},
    }
    settings = config(data, tmp_path / 'run', cascade_model(**parts))
    settings.train_dataloader.dataset = settings.train_dataloader.dataset.dataset
    settings.custom_imports = {'imports': ['toy', 'mmsamdistill'], 'allow_failed_imports': False}
    settings.env_cfg = {'dist_cfg': {'backend': 'gloo'}}
    settings.dump(str(tmp_path / 'config.py'))
    command = [
        *(sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2'),
        *('--master_addr=127.0.0.1', '--master_port=29511'),
        *(str(ROOT / 'tools/train.py'), str(tmp_path / 'config.py'), '--launcher', 'pytorch'),
    ]
    environment = {
        'PYTHONPATH': f'{ROOT}:{ROOT / "tests"}',
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
        'PATH': '/usr/bin:/bin',
        'HOME': str(tmp_path),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    keys = torch.load(tmp_path / 'run/iter_4.pth', weights_only=True)['state_dict']
    assert {key.split('.')[0] for key in keys} == {'restorer', 'teacher', 'spf'}
