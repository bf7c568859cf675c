"""Two processes grow their patches in step; run as a script, this file is one of the two."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mmsamdistill  # noqa: F401

TESTS = Path(__file__).parents[1]


def work(data, out):
    """Train as one of several processes, and write down what this one has seen."""
    from mmengine.hooks import Hook
    from mmengine.runner import Runner
    from toy import cascade_model, config

    class Watch(Hook):
        """Keeps the raw images after they were cropped."""

        def __init__(self):
            self.seen = []

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            self.seen.append(torch.stack([image.float() for image in data_batch['inputs']]))

    torch.distributed.init_process_group('gloo')  # MMEngine's own start wants a GPU
    hook = {'type': 'ProgressivePatchHook', 'iters': [1, 1, 9]}
    hook |= {'patch_sizes': [8, 12, 16], 'batch_sizes': [2, 1, 1]}
    settings = config(data, out / 'run', cascade_model(), custom_hooks=[hook], launcher='pytorch')
    settings.model_wrapper_cfg = {'type': 'MMDistributedDataParallel', 'device_ids': None}
    settings.train_cfg.update(max_iters=3, val_interval=9)
    runner = Runner.from_cfg(settings)
    watch = Watch()
    runner.register_hook(watch, priority='VERY_LOW')
    runner.train()
    weights = torch.cat([p.detach().flatten() for p in runner.model.parameters()])
    torch.save({'seen': watch.seen, 'weights': weights}, out / f'{runner.rank}.pth')


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason='torch without distributed')
def test_processes_share_the_stage_and_the_weights_but_not_the_images(tmp_path):
    from toy import write_data

    data = write_data(tmp_path / 'data')
    command = [
        *(sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2'),
        *(__file__, str(data), str(tmp_path)),
    ]
    environment = {
        **os.environ,
        'PYTHONPATH': f'{TESTS.parent}{os.pathsep}{TESTS}',
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[:6000]
    first, second = (torch.load(tmp_path / f'{rank}.pth', weights_only=True) for rank in (0, 1))
    shapes = [(2, 3, 8, 8), (1, 3, 12, 12), (1, 3, 16, 16)]
    for process in (first, second):
        assert [tuple(images.shape) for images in process['seen']] == shapes
    assert not any(torch.equal(a, b) for a, b in zip(first['seen'], second['seen'], strict=True))
    assert torch.equal(first['weights'], second['weights'])


if __name__ == '__main__':
    work(Path(sys.argv[1]), Path(sys.argv[2]))
    # A process that ends with the group alive may abort: Gloo's threads outlive the interpreter.
    torch.distributed.destroy_process_group()
