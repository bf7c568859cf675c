import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from toy import NAFNET, cascade_model

from mmsamdistill.deploy.export import build_model, export_checkpoint

TOOL = Path(__file__).parents[2] / 'tools/prove_unchanged.py'


@pytest.mark.slow
def test_table_and_exit_code(tmp_path, monkeypatch, capsys):
    cfg = Config({'model': cascade_model(NAFNET)})
    cfg.dump(tmp_path / 'distilled.py')
    model = build_model(cfg)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'iter_4.pth')
    export_checkpoint(cfg, tmp_path / 'iter_4.pth', tmp_path / 'student.pth')
    paths = [tmp_path / name for name in ('distilled.py', 'iter_4.pth', 'student.pth')]
    options = ['--shape', '32', '32', '--repeats', '1', '--device', 'cpu']
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, paths), *options])
    runpy.run_path(str(TOOL), run_name='__main__')
    printed = capsys.readouterr().out
    assert '| parameters' in printed
    assert '\nunchanged: ' in printed
    model.restorer.generator.ending.bias.data += 1
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'iter_4.pth')
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert ended.value.code == 1
    assert '\nCHANGED: ' in capsys.readouterr().out
