"""The table of docs/deploy.md: which reader reads which restorer, cell by cell."""

import copy
import importlib.util
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from safetensors.torch import load_file
from toy import NAFNET, plain_model

from mmsamdistill.deploy.export import build_model, export_checkpoint, verify_export
from mmsamdistill.deploy.graph import _graph_ready

RESTORERS = {
    'NAFNet': NAFNET['generator'],
    'NAFNetLocal': {
        **NAFNET['generator'],
        'type': 'NAFNetLocal',
        'train_size': (1, 3, 32, 32),
    },
    'Restormer': {
        'type': 'Restormer',
        'dim': 8,
        'num_blocks': [1, 1, 1, 1],
        'num_refinement_blocks': 1,
        'heads': [1, 1, 2, 2],
    },
    'SwinIR': {
        'type': 'SwinIRNet',
        'img_size': 16,
        'window_size': 8,
        'depths': [2],
        'num_heads': [2],
        'embed_dim': 8,
        'mlp_ratio': 2,
        'upscale': 1,
        'upsampler': '',
        'in_chans': 3,
        'img_range': 1.0,
    },
    'MPRNet': {
        'type': 'MPRNet',
        'mid_channels': 4,
        'unet_growth': 2,
        'full_growth': 2,
        'num_blocks': 2,
    },
    'HINet': {'type': 'HINet', 'mid_channels': 4, 'depth': 3},
    'PReNet': {'type': 'PReNet', 'num_stages': 2, 'mid_channels': 4},
}
CONFIGS = Path(__file__).parents[2] / 'configs/_base_/models'
IN_SPANDREL = ('NAFNet', 'SwinIR')
IN_SPANDRELS_EXTRAS = ('Restormer', 'MPRNet')
PIPELINE = [{'type': 'LoadImageFromFile', 'key': 'img', 'channel_order': 'rgb'}]


@pytest.fixture
def make(tmp_path):
    def prepare(name, scale=0.05, **settings):
        torch.manual_seed(0)
        cfg = Config({'model': plain_model(RESTORERS[name]), 'test_pipeline': PIPELINE, **settings})
        model = build_model(cfg).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(scale * torch.randn_like(parameter))
        torch.save({'state_dict': model.state_dict()}, tmp_path / 'trained.pth')
        return cfg, tmp_path / 'trained.pth', model.requires_grad_(False)

    return prepare


@pytest.mark.slow
@pytest.mark.parametrize('name', RESTORERS)
def test_mmagic_and_plain_pytorch(make, tmp_path, name):
    cfg, checkpoint, model = make(name)
    out = export_checkpoint(cfg, checkpoint, tmp_path / 'a.safetensors')
    image = torch.rand(1, 3, 40, 56)
    theirs = build_model(cfg).eval()
    theirs.load_state_dict(load_file(out), strict=True)
    assert torch.equal(theirs(image), model(image))
    # Without MMEngine: the network's class and a file.
    network = type(model.generator)(**{k: v for k, v in RESTORERS[name].items() if k != 'type'})
    bare = {key.removeprefix('generator.'): value for key, value in load_file(out).items()}
    network.eval().load_state_dict({k: v for k, v in bare.items() if k != 'step_counter'})
    assert torch.equal(network(image), model(image))


@pytest.mark.slow
@pytest.mark.parametrize('name', IN_SPANDREL + IN_SPANDRELS_EXTRAS)
def test_spandrel(make, tmp_path, name):
    spandrel = pytest.importorskip('spandrel')
    registry = spandrel.ArchRegistry()
    registry.add(*spandrel.MAIN_REGISTRY)
    if name in IN_SPANDRELS_EXTRAS:
        registry.add(*pytest.importorskip('spandrel_extra_arches').EXTRA_REGISTRY)
    cfg, checkpoint, model = make(name)
    out = export_checkpoint(cfg, checkpoint, tmp_path / 'a.safetensors', 'spandrel')
    loaded = spandrel.ModelLoader('cpu', registry).load_from_file(out)
    image = torch.rand(1, 3, 37, 51)
    tolerance = 1e-6 if name == 'MPRNet' else 0
    assert (loaded(image) - model(image).clamp(0, 1)).abs().max() <= tolerance
    assert not any(key.startswith('generator') for key in load_file(out))


@pytest.mark.parametrize('name', ['NAFNetLocal', 'HINet', 'PReNet'])
def test_what_spandrel_has_not_is_not_written(make, tmp_path, name):
    pytest.importorskip('spandrel')
    cfg, checkpoint, _ = make(name)
    reason = 'local statistics' if 'Local' in name else f'no form for {name}'
    for verify in (True, False):
        with pytest.raises(ValueError, match=reason):
            export_checkpoint(cfg, checkpoint, tmp_path / 'a.safetensors', 'spandrel', True, verify)
    assert [path.name for path in tmp_path.iterdir()] == ['trained.pth']


def test_what_spandrel_would_run_otherwise_is_not_written(make, tmp_path):
    pytest.importorskip('spandrel')
    hook = {'local': {'type': 'LocalStatisticsHook', 'window': 64}}
    scaled = {'type': 'DataPreprocessor', 'mean': [127.5] * 3, 'std': [127.5] * 3}
    bgr = [{'type': 'LoadImageFromFile', 'key': 'img'}]
    for settings, reason in (
        ({'default_hooks': hook}, 'local statistics'),
        ({'model': plain_model(NAFNET['generator'], data_preprocessor=scaled)}, r'0\.\.1'),
        ({'test_pipeline': bgr}, 'BGR'),
    ):
        cfg, checkpoint, _ = make('NAFNet', **settings)
        with pytest.raises(ValueError, match=reason):
            export_checkpoint(cfg, checkpoint, tmp_path / 'a.safetensors', 'spandrel')
    assert not (tmp_path / 'a.safetensors').exists()


def test_a_missing_package_is_named_with_its_extra(make, tmp_path, monkeypatch):
    cfg, checkpoint, _ = make('NAFNet')
    for package, name, fmt in (
        ('spandrel', 'a.safetensors', 'spandrel'),
        ('onnx', 'a.onnx', 'onnx'),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf'mmsamdistill\[{fmt}\]'):
            export_checkpoint(cfg, checkpoint, tmp_path / name, fmt)
        assert not (tmp_path / name).exists()


@torch.no_grad()
@pytest.mark.parametrize('name', RESTORERS)
def test_what_is_made_ready_for_a_graph_computes_the_same(make, name):
    network = make(name)[2].generator
    ready = _graph_ready(copy.deepcopy(network))
    for size in ((1, 64, 64), (2, 80, 48), (1, 61, 67), (1, 35, 90)):
        image = torch.rand(size[0], 3, *size[1:])
        torch.testing.assert_close(ready(image), network(image), rtol=1e-4, atol=1e-5)


# Writing a graph takes minutes on a busy machine: one in every run, the others when asked for.
ON_DEMAND = pytest.mark.skipif(not os.environ.get('ALL_GRAPHS'), reason='ALL_GRAPHS=1 runs it')


@pytest.mark.slow
@pytest.mark.parametrize(
    'name', ['NAFNet', *(pytest.param(each, marks=ON_DEMAND) for each in list(RESTORERS)[1:])]
)
def test_onnxruntime(make, tmp_path, monkeypatch, name):
    pytest.importorskip('onnx')
    pytest.importorskip('onnxscript')
    runtime = pytest.importorskip('onnxruntime')
    cfg, checkpoint, model = make(name)
    out = export_checkpoint(cfg, checkpoint, tmp_path / 'a.onnx')
    assert verify_export(cfg, checkpoint, out)['difference'] <= 1e-4
    session = runtime.InferenceSession(str(out))
    for size in ((1, 3, 64, 64), (3, 3, 33, 95), (1, 3, 130, 17)):
        image = torch.rand(size)
        given = session.run(None, {'image': image.numpy()})[0]
        assert abs(given - model(image).numpy()).max() <= 1e-4
    meta = session.get_modelmeta().custom_metadata_map
    assert meta['channel_order'] == 'rgb'
    assert meta['restorer'] == RESTORERS[name]['type']
    assert session.get_inputs()[0].shape == ['batch', 3, 'height', 'width']
    if name == 'NAFNet' and importlib.util.find_spec('spandrel'):
        out.rename(tmp_path / 'student.onnx')
        export_checkpoint(cfg, checkpoint, tmp_path / 'student.safetensors')
        export_checkpoint(cfg, checkpoint, tmp_path / 'bare.safetensors', 'spandrel')
        monkeypatch.chdir(tmp_path)
        follow_the_page(model)


def follow_the_page(model):
    """Run docs/deploy.md's lines as they stand, in a folder with the exported files."""
    pixels = torch.randint(0, 256, (41, 53, 3), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save('photo.png')
    text = (CONFIGS.parents[2] / 'docs/deploy.md').read_text()
    found: dict = {}
    exec(re.search(r'```python\n(import json\n.*?)```', text, re.DOTALL)[1], found)
    wanted = model(pixels.permute(2, 0, 1)[None] / 255)
    assert torch.equal(found['by_torch'], wanted)
    assert torch.equal(found['by_spandrel'], wanted.clamp(0, 1))
    assert abs(found['by_onnx'] - wanted.numpy()).max() <= 1e-4
    restored = torch.from_numpy(np.array(Image.open('restored.png')))
    assert (restored - wanted[0].permute(1, 2, 0).clamp(0, 1) * 255).abs().max() <= 0.501


@ON_DEMAND
@pytest.mark.slow
def test_local_statistics_in_a_graph(make, tmp_path):
    runtime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    hook = {'local': {'type': 'LocalStatisticsHook', 'window': 64}}
    cfg, checkpoint, model = make('NAFNet', 0.2, default_hooks=hook)
    out = export_checkpoint(cfg, checkpoint, tmp_path / 'a.onnx')
    image = torch.rand(1, 3, 100, 140)
    given = runtime.InferenceSession(str(out)).run(None, {'image': image.numpy()})[0]
    assert abs(given - model(image).numpy()).max() > 1e-3
    from mmsamdistill.restorers.local_statistics import use_local_statistics

    use_local_statistics(model.generator, 64)
    assert abs(given - model(image).numpy()).max() <= 1e-4
    cfg, checkpoint, _ = make('Restormer', default_hooks=hook)
    with pytest.raises(ValueError, match='no graph of variable size'):
        export_checkpoint(cfg, checkpoint, tmp_path / 'b.onnx')


@ON_DEMAND
@pytest.mark.slow
@pytest.mark.parametrize(
    ('base', 'tolerance'),
    [
        ('nafnet_c32eb11128mb1db1111', 0),
        ('nafnet_c64eb11128mb1db1111', 0),
        ('restormer_withbias', 0),
        ('restormer_biasfree', 0),
        ('swinir_s128w8d6e180', 0),
        ('mprnet_c40', 1e-6),
        ('mprnet_c80', 1e-6),
    ],
)
def test_spandrel_at_published_sizes(tmp_path, base, tolerance):
    cfg = Config.fromfile(CONFIGS / f'{base}.py')
    cfg.test_pipeline = PIPELINE
    if cfg.model.generator.type.startswith('NAFNet'):
        cfg.model.generator = {**cfg.model.generator, 'type': 'NAFNet'}
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'a.pth')
    out = export_checkpoint(cfg, tmp_path / 'a.pth', tmp_path / 'a.safetensors', 'spandrel')
    proof = json.loads((tmp_path / 'a.safetensors.json').read_text())['verified']
    print(f'{base}: {proof["parameters"]:,} parameters, difference {proof["difference"]:.3g}')
    assert proof['difference'] <= tolerance
    assert out.exists()
