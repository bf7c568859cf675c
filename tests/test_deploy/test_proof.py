import copy

import pytest
import torch
from mmengine.config import Config
from toy import NAFNET, cascade_model

from mmsamdistill.deploy.export import build_model, export_checkpoint
from mmsamdistill.deploy.proof import prove_unchanged


@pytest.fixture
def files(tmp_path):
    cfg = Config({'model': cascade_model(NAFNET)})
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'iter_4.pth')
    return cfg, tmp_path / 'iter_4.pth', tmp_path / 'student.pth'


def test_export_is_unchanged_in_every_respect(files):
    cfg, checkpoint, out = files
    export_checkpoint(cfg, checkpoint, out)
    rows, unchanged, _ = prove_unchanged(cfg, checkpoint, out, (32, 48), repeats=3, device='cpu')
    assert unchanged
    table = {row['quantity']: row for row in rows}
    count = sum(p.numel() for p in build_model(cfg).restorer.parameters())
    assert table['parameters']['plain'] == table['parameters']['exported'] == f'{count:,}'
    for name in ('keys', 'parameters', 'FLOPs', 'MiB at the peak'):
        assert table[name]['ratio'] == '1.0000'
    assert float(table['ms an image']['ratio']) > 0
    assert table['largest difference to the training checkpoint']['exported'] == 0


@pytest.mark.parametrize('distilled', [True, False])
def test_local_statistics_are_the_configs_on_every_side(tmp_path, distilled):
    hook = {'local': {'type': 'LocalStatisticsHook', 'window': 64}}
    model = cascade_model(NAFNET) if distilled else NAFNET
    cfg, checkpoint = Config({'model': model, 'default_hooks': hook}), tmp_path / 'iter_4.pth'
    weights = build_model(cfg).state_dict()
    weights = {key: value + 0.2 * torch.randn(value.shape) for key, value in weights.items()}
    torch.save({'state_dict': weights}, checkpoint)
    export_checkpoint(cfg, checkpoint, tmp_path / 'student.pth')
    rows, unchanged, _ = prove_unchanged(
        cfg, checkpoint, tmp_path / 'student.pth', (96, 136), repeats=1, device='cpu'
    )
    assert unchanged
    assert rows[0]['plain'] == rows[0]['exported'] == 'windows of 64 pixels'


def test_another_checkpoint_is_noticed(files):
    cfg, checkpoint, out = files
    export_checkpoint(cfg, checkpoint, out)
    other = copy.deepcopy(torch.load(checkpoint, weights_only=True))
    other['state_dict']['restorer.generator.ending.bias'] += 1e-3
    torch.save(other, checkpoint)
    rows, unchanged, _ = prove_unchanged(cfg, checkpoint, out, (32, 48), repeats=1, device='cpu')
    assert not unchanged
    assert rows[-1]['exported'] == pytest.approx(1e-3, rel=1e-2)


def test_a_graph_has_no_keys_to_compare(files, tmp_path):
    cfg, checkpoint, _ = files
    with pytest.raises(ValueError, match=r'a\.onnx'):
        prove_unchanged(cfg, checkpoint, tmp_path / 'a.onnx')
