"""The examples run as they stand, and what they train moves."""

import copy
import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

EXAMPLES = Path(__file__).parents[2] / 'examples'


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def run(name):
        torch.manual_seed(0)
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f'{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return run


@pytest.mark.parametrize('path', sorted(EXAMPLES.glob('*.py')), ids=lambda path: path.stem)
def test_short_enough_to_read(path):
    assert len(path.read_text().splitlines()) <= 60


def test_plain_loop(load):
    student, losses = load('plain_loop').train(steps=8)
    assert sum(losses[-2:]) < sum(losses[:2])
    assert list(student.state_dict()) == ['0.weight', '0.bias', '2.weight', '2.bias']


def test_lightning_module(load, monkeypatch):
    """In Lightning if it is there, else by what Lightning would call."""
    if importlib.util.find_spec('lightning') is None:
        with pytest.raises(ImportError, match='pip install lightning'):
            load('lightning_module')
        stand_in = types.ModuleType('lightning')
        stand_in.LightningModule = type('LightningModule', (nn.Module,), {'log_dict': print})
        monkeypatch.setitem(sys.modules, 'lightning', stand_in)
    example = load('lightning_module')
    model = example.Distilled(example.Net(), example.Net())
    model.log_dict = lambda losses: None
    before = copy.deepcopy(model.state_dict())
    optimizer = model.configure_optimizers()
    for index, batch in enumerate(example.batches(2)):
        optimizer.zero_grad()
        model.training_step(batch, index).backward()
        optimizer.step()
    after = model.state_dict()
    for part in ('restorer', 'teacher', 'spf'):
        keys = [key for key in before if key.startswith(part)]
        assert any(not torch.equal(before[key], after[key]) for key in keys)
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(model(image), model.restorer(image))


def test_basicsr_model(load, tmp_path):
    from mmsamdistill.weights import load_plain

    example = load('basicsr_model')
    model = example.DistilledModel(example.Net(), example.Net())
    before = [parameter.clone() for parameter in model.net_g.parameters()]
    for step, (degraded, truth) in enumerate(example.batches(2)):
        model.feed_data({'lq': degraded, 'gt': truth})
        model.optimize_parameters(step)
    assert set(model.log_dict) == {'l_pix', 'l_teacher', 'l_spd'}
    after = list(model.net_g.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    model.save(tmp_path / 'net_g.pth')
    again = example.Net()
    load_plain(again, tmp_path / 'net_g.pth')
    assert torch.equal(again[0].weight, model.net_g[0].weight)
