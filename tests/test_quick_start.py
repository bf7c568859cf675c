"""The quick start of README.md, word for word, on four tiny pairs."""

import importlib.util
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from pairs import write_pairs
from readme import quick_start

pytestmark = pytest.mark.slow  # eight tools, one of them trains
ROOT = Path(__file__).parents[1]


def run(tool, arguments, monkeypatch):
    path = ROOT / 'tools' / f'{tool}.py'
    spec = importlib.util.spec_from_file_location(f'started_{tool}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [str(path), *arguments])
    return module.main()


def test_the_quick_start_does_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / 'data/pairs')
    # 1. The config as it is written; its bases are those of the package that is tested.
    text, commands = quick_start()
    bases = (ROOT / 'configs').as_posix()
    config = text.replace("'mmsamdistill::", f"'{bases}/")
    assert config != text
    Path('config.py').write_text(config)
    assert Config.fromfile('config.py').train_cfg.max_iters == 200_000
    # 2. The commands, one after the other.
    assert len(commands) == 8
    for _, tool, *arguments in commands:
        assert run(tool, arguments, monkeypatch) in (None, 0), (tool, capsys.readouterr())
    # 3. What they leave: the student restored the test image, and the report says how well.
    (row,) = json.loads(Path('report.json').read_text())['results']
    restored, truth = (
        cv2.imread(f'{folder}/0.png').astype(float)
        for folder in ('restored', 'data/pairs/test/target')
    )
    psnr = 10 * np.log10(255**2 / np.mean((restored - truth) ** 2))
    assert row['PSNR'] == pytest.approx(psnr, abs=0.01)
    assert Path('figure.pdf').stat().st_size > 1000
