"""Training steps run compiled networks, everything else the networks as they are."""

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from mmengine.runner import Runner
from toy import cascade_model, config, plain_model, write_data

from mmsamdistill.engine import CompileHook

BATCH = 2


def counting_backend():
    shapes = []

    def backend(graph, _):
        def run(*args):
            # A graph's inputs are its parameters and the one batch of images.
            shapes.extend(tuple(arg.shape) for arg in args if arg.ndim == 4 and len(arg) == BATCH)
            return graph(*args)

        return run

    torch.compiler.reset()
    return shapes, backend


def train(tmp_path, name, model, **hook):
    data = write_data(tmp_path / 'data')
    runner = Runner.from_cfg(config(data, tmp_path / name, model, custom_hooks=[]))
    if hook:
        runner.register_hook(CompileHook(**hook))
    runner.train()
    return runner


@pytest.mark.slow
def test_training_is_the_same_and_validation_is_not_compiled(tmp_path):
    shapes, backend = counting_backend()
    compiled = train(tmp_path, 'compiled', plain_model(), backend=backend)
    usual = train(tmp_path, 'usual', plain_model())
    assert len(shapes) == compiled.max_iters
    assert len(set(shapes)) == 1  # the training patches; images of validation are larger
    assert list(compiled.model.state_dict()) == list(usual.model.state_dict())
    for key, value in usual.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[key], value, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        compiled.model(torch.rand(BATCH, 3, 8, 8))
    assert len(shapes) == compiled.max_iters  # nor is anything after training


@pytest.mark.slow
def test_student_and_teacher_are_compiled(tmp_path):
    shapes, backend = counting_backend()
    runner = train(tmp_path, 'run', cascade_model(), backend=backend)
    # Student, teacher, and the average of the teacher.
    assert len(shapes) == 3 * runner.max_iters


@pytest.mark.slow
@pytest.mark.parametrize('interval', [1, 2])
def test_features_are_tapped_anew_at_each_step(tmp_path, interval):
    taps = {'feature_layers': ('generator.first',), 'feature_weight': 1.0}
    model = cascade_model(spd_loss={'type': 'SPDLoss', **taps}, teacher_interval=interval)
    compiled = train(tmp_path, 'compiled', model, backend='eager')
    usual = train(tmp_path, 'usual', model)
    losses = [run.message_hub.get_scalar('train/loss_spd').data[0] for run in (compiled, usual)]
    assert min(losses[1]) > 0.5  # features weigh more than images here
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.slow
def test_nafnet_is_one_graph():
    blocks = {'enc_blk_nums': [1], 'dec_blk_nums': [1]}
    network = MODELS.build({'type': 'NAFNet', 'mid_channels': 4, **blocks})
    torch.compiler.reset()
    compiled = torch.compile(network, backend='aot_eager', fullgraph=True)
    compiled(torch.rand(1, 3, 8, 8)).sum().backward()
    assert network.intro.weight.grad.abs().sum() > 0


@pytest.mark.slow
def test_a_name_that_nothing_has_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"names=\('generater',\).*BaseEditModel has no such"):
        train(tmp_path, 'run', plain_model(), names=['generater'])
