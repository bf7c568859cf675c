import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from toy import NAFNET, cascade_model

from mmsamdistill.deploy.export import build_model

TOOL = Path(__file__).parents[2] / 'tools/export_restorer.py'


@pytest.fixture
def files(tmp_path):
    cfg = Config({'model': cascade_model(NAFNET)})
    cfg.dump(tmp_path / 'distilled.py')
    model = build_model(cfg)
    raw = {f'module.{key}': value + 1 for key, value in model.state_dict().items()}
    content = {'state_dict': model.state_dict(), 'ema_state_dict': raw}
    torch.save(content, tmp_path / 'iter_4.pth')
    return tmp_path / 'distilled.py', tmp_path / 'iter_4.pth', tmp_path / 'new/student.pth', model


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_exports_and_verifies(files, monkeypatch, capsys):
    config, checkpoint, out, model = files
    run(monkeypatch, config, checkpoint, out)
    weights = torch.load(out, weights_only=True)['state_dict']
    wanted = model.restorer.state_dict()
    assert list(weights) == list(wanted)
    assert all(torch.equal(weights[key], wanted[key]) for key in wanted)
    printed = capsys.readouterr().out
    count = sum(p.numel() for p in model.restorer.parameters())
    assert str(out) in printed
    assert f'{count:,} parameters' in printed
    assert 'verified' in printed


def test_options_reach_the_export(files, monkeypatch, capsys):
    config, checkpoint, out, model = files
    run(monkeypatch, config, checkpoint, out, '--no-ema', '--no-verify')
    weights = torch.load(out, weights_only=True)['state_dict']
    wanted = model.restorer.state_dict()
    assert all(torch.equal(weights[key], wanted[key] + 1) for key in wanted)
    assert 'verified' not in capsys.readouterr().out
    out = out.with_suffix('.safetensors')
    run(monkeypatch, config, checkpoint, out, '--format', 'safetensors')
    assert out.read_bytes()[8:9] == b'{'
    capsys.readouterr()
    run(monkeypatch, config, checkpoint, out, '--local', '64')
    assert 'statistics: windows of 64 pixels' in capsys.readouterr().out
    wider = 'model.restorer.generator.mid_channels=8'
    with pytest.raises(SystemExit, match='of another shape'):
        run(monkeypatch, config, checkpoint, out, '--cfg-options', wider)


def test_failure_is_one_clear_line_and_an_exit_status(files, monkeypatch, capsys):
    config, checkpoint, out, _ = files
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, config, checkpoint, out)
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert 'iter_4.pth' in line
    assert not out.exists()
