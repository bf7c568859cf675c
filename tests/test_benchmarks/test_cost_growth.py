"""The benchmark of how cost grows, tiny."""

import runpy
from pathlib import Path

import pytest
from mmengine.config import Config
from toy import NAFNET, cascade_model

SCRIPT = Path(__file__).parents[2] / 'benchmarks/cost_growth.py'
TINY = ['--patch', '16', '32', '--batch', '1', '2', '--grid', '2', '4', '--width', '4', '8']


@pytest.mark.slow
def test_every_quantity_grows_alone(tmp_path, capsys):
    Config({'model': cascade_model(NAFNET)}).dump(tmp_path / 'distilled.py')
    figure = tmp_path / 'growth.png'
    options = [*TINY, '--steps', '1', '--figure', str(figure)]
    runpy.run_path(str(SCRIPT))['main']([str(tmp_path / 'distilled.py'), *options])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('| ')]
    header, *rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    points = [
        tuple(int(row[name]) for name in ('patch', 'batch', 'regions', 'width')) for row in rows
    ]
    first = (16, 1, 4, 4)
    assert points == [first, (32, 1, 4, 4), (16, 2, 4, 4), (16, 1, 16, 4), (16, 1, 4, 8)]
    memory = [float(row['plain, MiB']) for row in rows]
    assert memory[1] > memory[0]
    assert memory[2] == pytest.approx(2 * memory[0], rel=0.5)
    assert figure.stat().st_size > 1000


def test_a_plain_config_is_refused(tmp_path):
    Config({'model': NAFNET}).dump(tmp_path / 'plain.py')
    with pytest.raises(SystemExit, match=r'plain\.py is a plain config'):
        runpy.run_path(str(SCRIPT))['main']([str(tmp_path / 'plain.py')])
