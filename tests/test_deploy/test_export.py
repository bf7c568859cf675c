import copy
import hashlib
import json
import os
from dataclasses import replace

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
    verify_export,
)
from mmsamdistill.deploy.formats import FORMATS, find_format
from mmsamdistill.weights import read_checkpoint


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


@pytest.fixture
def cfg(request):
    restorer = {**NAFNET, 'generator': GENERATORS[getattr(request, 'param', 'buffers')]}
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


of_both_networks = pytest.mark.parametrize('cfg', GENERATORS, indirect=True)


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
    cfg.activation_checkpointing = ['teacher.generator', 'restorer.generator']
    assert plain_config(cfg).activation_checkpointing == ['generator']
    cfg.default_scope = 'mmagic'
    assert plain_config(plain_config(cfg)).default_scope == 'mmagic'
    with pytest.raises(KeyError, match='model'):
        plain_config(Config({}))


@of_both_networks
@pytest.mark.parametrize('fmt', ['mmagic', 'safetensors'])
def test_exported_weights_are_the_students_bit_for_bit(cfg, trained, checkpoint, tmp_path, fmt):
    suffix = {'mmagic': '.pth', 'safetensors': '.safetensors'}[fmt]
    out = tmp_path / 'deep' / 'er' / f'student{suffix}'
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
    assert sorted(os.listdir(out.parent)) == [out.name, f'{out.name}.json']


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
        export_checkpoint(cfg, checkpoint, out)
    assert out.read_bytes() == before
    assert sorted(os.listdir(out.parent)) == ['student.pth', 'student.pth.json']


def test_weights_of_another_network_are_refused(cfg, checkpoint, tmp_path):
    cfg.model.restorer.generator = {**NAFNET['generator'], 'mid_channels': 8}
    with pytest.raises(ValueError, match=r'iter_4\.pth'):
        export_checkpoint(cfg, checkpoint, tmp_path / 'student.pth')
    assert not (tmp_path / 'student.pth').exists()


@of_both_networks
@pytest.mark.slow
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


@of_both_networks
def test_exporting_an_official_checkpoint_of_the_plain_model(cfg, trained, tmp_path):
    weights = trained.restorer.state_dict()
    official = {'params': {k.removeprefix('generator.'): v for k, v in weights.items()}}
    torch.save(official, tmp_path / 'official.pth')
    plain = plain_config(cfg)
    out = export_checkpoint(plain, tmp_path / 'official.pth', tmp_path / 'out.pth')
    assert same(torch.load(out, weights_only=True)['state_dict'], weights)
    verify_export(plain, tmp_path / 'official.pth', out)


@of_both_networks
@pytest.mark.parametrize('fmt', ['mmagic', 'safetensors'])
def test_verification_passes_and_reports(cfg, trained, checkpoint, tmp_path, fmt):
    out = export_checkpoint(cfg, checkpoint, tmp_path / f'out.{fmt}'.replace('mmagic', 'pth'), fmt)
    proof = verify_export(cfg, checkpoint, out)
    assert proof['parameters'] == sum(p.numel() for p in trained.restorer.parameters())
    assert proof['flops'] > 0
    assert proof['images'] >= 2
    assert proof['difference'] == 0


@of_both_networks
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


@pytest.mark.parametrize(
    'name', ['iter_4.pth', 'sub/../iter_4.pth', 'link.pth', 'hard.pth', 'cfg.pth']
)
def test_an_input_is_never_written_over(cfg, checkpoint, tmp_path, name):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'link.pth').symlink_to(checkpoint)
    os.link(checkpoint, tmp_path / 'hard.pth')
    (tmp_path / 'cfg.pth').write_text('a config')
    cfg = Config(cfg._cfg_dict, filename=str(tmp_path / 'cfg.pth'))
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(ValueError, match='is the input'):
        export_checkpoint(cfg, checkpoint, tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_the_card_spares_the_inputs_too(cfg, checkpoint, tmp_path):
    twin = tmp_path / 'a.pth.json'
    twin.write_bytes(checkpoint.read_bytes())
    with pytest.raises(ValueError, match='is the input'):
        export_checkpoint(cfg, twin, tmp_path / 'a.pth')
    assert twin.read_bytes() == checkpoint.read_bytes()


@pytest.mark.parametrize(
    ('name', 'fmt', 'found'),
    [
        ('a.pth', None, 'mmagic'),
        ('a.SAFETENSORS', None, 'safetensors'),
        ('a.safetensors', 'spandrel', 'spandrel'),
        ('a.onnx', None, 'onnx'),
        ('a.onnx', 'mmagic', r'mmagic.*\.pth.*not \.onnx'),
        ('a.pth', 'safetensors', 'not .pth'),
        ('a.zip', None, 'tells no format'),
        ('a', None, 'tells no format'),
    ],
)
def test_the_suffix_decides(name, fmt, found):
    if found in FORMATS:
        assert find_format(name, fmt) == found
    else:
        with pytest.raises(ValueError, match=found):
            find_format(name, fmt)


@of_both_networks
def test_card(cfg, checkpoint, trained, tmp_path):
    report = tmp_path / 'report.json'
    results = [{'dataset': 'GoPro', 'PSNR': 30.0}]
    content = {'protocols': {'RGB': 'rounded'}, 'results': results, 'checkpoint': 'x/iter_4.pth'}
    report.write_text(json.dumps({**content, 'per_image': {}}))
    out = export_checkpoint(cfg, checkpoint, tmp_path / 'a.safetensors', report=report)
    card = json.loads((tmp_path / 'a.safetensors.json').read_text())
    assert card['sha256'] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert card['parameters'] == sum(p.numel() for p in trained.restorer.parameters())
    assert card['flops']['64x64'] > 0
    assert card['model']['generator']['type'] == cfg.model.restorer.generator.type
    assert card['tested'] == {'protocols': {'RGB': 'rounded'}, 'results': results}
    assert card['verified']['difference'] == 0
    assert card['statistics'] == 'global'
    report.write_text(json.dumps({**content, 'checkpoint': 'other.pth'}))
    with pytest.raises(ValueError, match=r'numbers of other\.pth'):
        export_checkpoint(cfg, checkpoint, out, report=report)


def test_what_differs_is_not_written(cfg, checkpoint, tmp_path, monkeypatch):
    def write(source):
        key = next(key for key in source.weights if key.endswith('bias'))
        source.weights[key] = source.weights[key] + 1
        return FORMATS['safetensors'].write(source)

    monkeypatch.setitem(FORMATS, 'mmagic', replace(FORMATS['mmagic'], write=write))
    monkeypatch.setitem(FORMATS, 'mmagic', replace(FORMATS['mmagic'], suffixes=('.safetensors',)))
    out = tmp_path / 'out' / 'a.safetensors'
    with pytest.raises(ValueError, match='outputs differ'):
        export_checkpoint(cfg, checkpoint, out, 'mmagic')
    assert os.listdir(out.parent) == []
    export_checkpoint(cfg, checkpoint, out, 'mmagic', verify=False)
    assert out.exists()


def test_the_checkpoint_is_read_once(cfg, checkpoint, tmp_path, monkeypatch):
    opened = []

    def read(path):
        opened.append(path)
        return read_checkpoint(path)

    monkeypatch.setattr('mmsamdistill.deploy.export.read_checkpoint', read)
    export_checkpoint(cfg, checkpoint, tmp_path / 'out.pth')
    assert opened == [checkpoint]


@pytest.mark.parametrize('channels', [1, 6])
def test_other_numbers_of_channels(tmp_path, channels):
    model = copy.deepcopy(NAFNET)
    model['generator']['img_channels'] = channels
    model['data_preprocessor'].update(mean=[0.0], std=[255.0])
    cfg = Config({'model': model})
    torch.save(build_model(cfg).state_dict(), tmp_path / 'a.pth')
    export_checkpoint(cfg, tmp_path / 'a.pth', tmp_path / 'out.pth')
    assert json.loads((tmp_path / 'out.pth.json').read_text())['channels'] == channels
