import os

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.runner.checkpoint import save_checkpoint
from safetensors.torch import load_file
from torch import nn
from toy import NAFNET, cascade_model

import mmsamdistill
from mmsamdistill.deploy.export import (
    build_model,
    export_checkpoint,
    is_distilled,
    plain_config,
    plain_state_dict,
    verify_export,
)


@MODELS.register_module(force=True)
class HalfAndBuffers(nn.Module):
    """Weights of several types, and buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer('offset', torch.tensor([0.1], dtype=torch.float16))

    def forward(self, x):
        return self.norm(self.conv(x)) + self.offset.to(x)


GENERATORS = {'NAFNet': NAFNET['generator'], 'buffers': {'type': 'HalfAndBuffers'}}


@pytest.fixture(params=GENERATORS)
def cfg(request):
    restorer = {**NAFNET, 'generator': GENERATORS[request.param]}
    # Neither an analyser nor SAM can be built here, and neither is needed.
    analyzer = {'type': 'VGGAnalyzer', 'weights': '/nowhere/vgg.pth'}
    parts = {'sgr_loss': {'type': 'SGRLoss'}, 'analyzer': analyzer}
    return Config({'model': cascade_model(restorer, regions={'type': 'SAMRegions'}, **parts)})


@pytest.fixture
def trained(cfg):
    """Cascade whose parts all differ, buffers included."""
    model = build_model(Config({'model': cascade_model(cfg.model.restorer)}))
    with torch.no_grad():
        for value in model.state_dict().values():
            value.add_(torch.rand(value.shape).to(value) if value.is_floating_point() else 7)
    return model.eval()


@pytest.fixture
def checkpoint(trained, tmp_path):
    path = tmp_path / 'iter_4.pth'
    content = {'meta': {'iter': 4}, 'state_dict': trained.state_dict(), 'optimizer': {'a': 1}}
    save_checkpoint(content, str(path))
    return path


def same(a, b):
    return list(a) == list(b) and all(
        torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a
    )


def test_plain_config_is_the_wrapped_restorer(cfg):
    plain = plain_config(cfg)
    assert plain.model == cfg.model.restorer
    assert is_distilled(cfg)
    assert not is_distilled(plain)
    plain.model.generator.type = 'changed'
    assert cfg.model.restorer.generator.type != 'changed'
    cfg.default_scope = 'mmagic'
    assert plain_config(plain_config(cfg)).default_scope == 'mmagic'
    with pytest.raises(KeyError, match='model'):
        plain_config(Config({}))


def test_plain_state_dict_of_models_and_checkpoints(trained, checkpoint):
    wanted = trained.restorer.state_dict()
    assert same(plain_state_dict(trained), wanted)
    assert same(plain_state_dict(trained.restorer), wanted)
    assert same(plain_state_dict(checkpoint), wanted)
    assert same(plain_state_dict(torch.load(checkpoint, weights_only=True)), wanted)
    both = {'params': {'w': torch.zeros(1)}, 'params_ema': {'w': torch.ones(1)}}
    assert plain_state_dict(both)['w'] == 1
    assert plain_state_dict(both, ema=False)['w'] == 0


@pytest.mark.parametrize('fmt', ['mmagic', 'safetensors'])
def test_exported_weights_are_the_students_bit_for_bit(cfg, trained, checkpoint, tmp_path, fmt):
    out = tmp_path / 'deep' / 'er' / 'student.pth'
    assert export_checkpoint(cfg, checkpoint, out, fmt) == out
    if fmt == 'mmagic':
        content = torch.load(out, weights_only=True)
        assert set(content) == {'meta', 'state_dict'}
        assert content['meta']['mmsamdistill_version'] == mmsamdistill.__version__
        assert content['meta']['exported_from'] == 'iter_4.pth'
        weights = content['state_dict']
    else:
        weights = load_file(out)
    plain = build_model(plain_config(cfg)).eval()
    assert list(plain.state_dict()) == sorted(weights, key=list(plain.state_dict()).index)
    plain.load_state_dict(weights, strict=True)
    assert same(plain.state_dict(), trained.restorer.state_dict())
    image = torch.rand(1, 3, 21, 34)
    with torch.no_grad():
        assert torch.equal(plain(image), trained(image))
    assert os.listdir(out.parent) == ['student.pth']


def test_unknown_format(cfg, checkpoint, tmp_path):
    with pytest.raises(ValueError, match=r"'caffe'.*mmagic"):
        export_checkpoint(cfg, checkpoint, tmp_path / 'out', 'caffe')


def test_failure_leaves_the_old_file(cfg, checkpoint, tmp_path, monkeypatch):
    out = tmp_path / 'out' / 'student.pth'
    export_checkpoint(cfg, checkpoint, out)
    before = out.read_bytes()

    def fail(*args):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='disk full'):
        export_checkpoint(cfg, checkpoint, out, 'safetensors')
    assert out.read_bytes() == before
    assert os.listdir(out.parent) == ['student.pth']


def test_weights_of_another_network_are_refused(cfg, checkpoint, tmp_path):
    cfg.model.restorer.generator = {**NAFNET['generator'], 'mid_channels': 8}
    with pytest.raises(ValueError, match=r'iter_4\.pth'):
        export_checkpoint(cfg, checkpoint, tmp_path / 'student.pth')
    assert not (tmp_path / 'student.pth').exists()


def test_averaged_or_raw_weights(cfg, trained, tmp_path):
    raw = {f'module.{key}': value for key, value in trained.state_dict().items()}
    averaged = {key: value * 2 for key, value in trained.state_dict().items()}
    torch.save({'state_dict': averaged, 'ema_state_dict': raw}, tmp_path / 'ema.pth')
    for ema, wanted in ((True, averaged), (False, trained.state_dict())):
        out = export_checkpoint(cfg, tmp_path / 'ema.pth', tmp_path / 'out.pth', ema=ema)
        weights = torch.load(out, weights_only=True)['state_dict']
        assert same(weights, {key: wanted[f'restorer.{key}'] for key in weights})
        verify_export(cfg, tmp_path / 'ema.pth', out, ema)
        with pytest.raises(ValueError, match='outputs differ'):
            verify_export(cfg, tmp_path / 'ema.pth', out, not ema)


def test_exporting_an_official_checkpoint_of_the_plain_model(cfg, trained, tmp_path):
    weights = trained.restorer.state_dict()
    official = {'params': {k.removeprefix('generator.'): v for k, v in weights.items()}}
    torch.save(official, tmp_path / 'official.pth')
    plain = plain_config(cfg)
    out = export_checkpoint(plain, tmp_path / 'official.pth', tmp_path / 'out.pth')
    assert same(torch.load(out, weights_only=True)['state_dict'], weights)
    verify_export(plain, tmp_path / 'official.pth', out)


@pytest.mark.parametrize('fmt', ['mmagic', 'safetensors'])
def test_verification_passes_and_reports(cfg, trained, checkpoint, tmp_path, fmt):
    out = export_checkpoint(cfg, checkpoint, tmp_path / f'out.{fmt}'.replace('mmagic', 'pth'), fmt)
    proof = verify_export(cfg, checkpoint, out)
    assert proof['parameters'] == sum(p.numel() for p in trained.restorer.parameters())
    assert proof['flops'] > 0
    assert proof['images'] >= 2


def test_verification_notices_one_changed_bit(cfg, checkpoint, tmp_path):
    out = export_checkpoint(cfg, checkpoint, tmp_path / 'out.pth')
    content = torch.load(out, weights_only=True)
    key = next(key for key in content['state_dict'] if key.endswith('bias'))
    content['state_dict'][key] *= 1.01
    torch.save(content, out)
    with pytest.raises(ValueError, match='outputs differ'):
        verify_export(cfg, checkpoint, out)
    del content['state_dict'][key]
    torch.save(content, out)
    with pytest.raises(ValueError, match='strictly'):
        verify_export(cfg, checkpoint, out)
