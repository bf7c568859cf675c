"""The quick start of README.md, word for word, on four tiny pairs."""

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

pytestmark = pytest.mark.slow  # eight tools, one of them trains
ROOT = Path(__file__).parents[1]
# What a test cannot wait for: the size of the network and of the training.
SMALL = [
    'model.restorer.generator.mid_channels=4',
    *(f'model.restorer.generator.{part}_blk_nums=[1,1]' for part in ('enc', 'dec')),
    'model.restorer.generator.middle_blk_num=1',
    'model.analyzer.layers=(relu1_2,)',
    *('train_dataloader.batch_size=2', 'train_dataloader.num_workers=0'),
    'train_dataloader.persistent_workers=False',
    *('val_dataloader.num_workers=0', 'test_dataloader.num_workers=0'),
    *('train_cfg.max_iters=2', 'train_cfg.val_interval=2'),
]


def section():
    return (ROOT / 'README.md').read_text().split('## Quick start', 1)[1].split('\n## ', 1)[0]


def blocks(language):
    return re.findall(rf'^```{language}\n(.*?)^```', section(), re.M | re.S)


def write_pairs(folder):
    rng = np.random.default_rng(0)
    for split, count in (('train', 3), ('test', 1)):
        for number in range(count):
            truth = cv2.resize(rng.integers(0, 256, (5, 5, 3), np.uint8), (136, 136))
            noisy = np.clip(truth + rng.normal(0, 25, truth.shape), 0, 255).astype(np.uint8)
            for name, image in (('target', truth), ('input', noisy)):
                path = folder / split / name / f'{number}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), image)


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
    (text,) = blocks('python')
    bases = (ROOT / 'configs').as_posix()
    config = text.replace("'mmsamdistill::", f"'{bases}/")
    assert config != text
    Path('config.py').write_text(config)
    assert Config.fromfile('config.py').train_cfg.max_iters == 200_000
    # 2. The commands, one after the other.
    (lines,) = blocks('bash')
    joined = lines.replace('\\\n', ' ').splitlines()
    commands = [shlex.split(line, comments=True) for line in joined]
    assert len(commands) == 8
    for _, tool, *arguments in commands:
        arguments = [word.replace('iter_200000', 'iter_2') for word in arguments]
        if 'config.py' in arguments:
            arguments += ['--cfg-options', *SMALL]
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
