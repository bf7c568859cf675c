"""The layout changes, and nothing else does."""

import pytest
import torch
from mmengine.runner import Runner
from toy import config, plain_model, run_training, write_data

import mmsamdistill  # noqa: F401


@pytest.mark.slow
def test_weights_are_channels_last_and_training_is_the_same(tmp_path):
    data = write_data(tmp_path / 'data')
    hooks = [{'type': 'ChannelsLastHook'}]
    changed = run_training(config(data, tmp_path / 'last', plain_model(), custom_hooks=hooks))
    usual = run_training(config(data, tmp_path / 'first', plain_model(), custom_hooks=[]))
    weight = changed.model.generator.first.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not usual.model.generator.first.weight.is_contiguous(memory_format=torch.channels_last)
    for key, value in usual.model.state_dict().items():
        torch.testing.assert_close(changed.model.state_dict()[key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_resumed_run_keeps_the_layout(tmp_path):
    data = write_data(tmp_path / 'data')
    hooks = [{'type': 'ChannelsLastHook'}]
    run_training(config(data, tmp_path / 'run', plain_model(), custom_hooks=hooks))
    settings = config(data, tmp_path / 'run', plain_model(), custom_hooks=hooks, resume=True)
    settings.train_cfg.max_iters = 6
    runner = Runner.from_cfg(settings)
    runner.train()
    weight = runner.model.generator.first.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
