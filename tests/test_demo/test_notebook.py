"""The notebook runs from its first cell to its last, and holds no output that could rot."""

import json
from pathlib import Path

import matplotlib as mpl
import pytest
import torch
from matplotlib import pyplot

PATH = Path(__file__).parents[2] / 'demo/demo.ipynb'


@pytest.mark.slow  # trains, exports and draws
def test_every_cell_runs_and_the_student_is_what_is_exported(tmp_path, monkeypatch):
    mpl.use('Agg')
    monkeypatch.chdir(tmp_path)
    cells = [each for each in json.loads(PATH.read_text())['cells'] if each['cell_type'] == 'code']
    assert not any(each['outputs'] or each['execution_count'] for each in cells)
    scope = {}
    for number, cell in enumerate(cells):
        text = ''.join(cell['source']).replace('STEPS = 60', 'STEPS = 3')
        exec(compile(text, f'cell {number}', 'exec'), scope)
    pyplot.close('all')
    assert len(scope['history']) == 3
    assert torch.equal(scope['student'], scope['restored'])
    assert not torch.equal(scope['restored'][0], scope['degraded'])
    assert (tmp_path / 'student.pth').is_file()
