"""Two processes train one cascade."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason='torch without distributed')
def test_ddp_needs_no_search_for_unused_parameters(tmp_path):
    out = tmp_path / 'names.pth'
    command = [
        *(sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2'),
        *(str(TESTS / 'ddp_worker.py'), str(out)),
    ]
    environment = {
        **os.environ,
        'PYTHONPATH': f'{TESTS.parent}{os.pathsep}{TESTS}',
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[:6000]
    names = torch.load(out, weights_only=True)['names']
    assert {name.split('.')[1] for name in names} == {'restorer', 'teacher', 'spf', 'average'}
