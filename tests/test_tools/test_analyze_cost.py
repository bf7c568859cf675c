import copy
import itertools
import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import Config
from toy import NAFNET, cascade_model, random_analyzer

from mmsamdistill.deploy.cost import count_flops, count_parameters
from mmsamdistill.deploy.export import build_model

TOOL = Path(__file__).parents[2] / 'tools/analyze_cost.py'


def run(monkeypatch, capsys, path, *options):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), str(path), '--device', 'cpu', *options])
    runpy.run_path(str(TOOL), run_name='__main__')
    return capsys.readouterr().out


def table(printed):
    first = printed.split('\n\n')[1]  # totals; parts follow
    rows = [line.strip('|').split('|') for line in first.splitlines() if line.startswith('| ')]
    header, *rows = [[cell.strip() for cell in row] for row in rows]
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


@pytest.mark.slow
def test_plain_against_distilled(tmp_path, monkeypatch, capsys):
    model = cascade_model(NAFNET)
    Config({'model': model}).dump(tmp_path / 'distilled.py')
    options = ('--shape', '32', '48', '--steps', '2', '--batch-size', '3')
    printed = run(monkeypatch, capsys, tmp_path / 'distilled.py', *options)
    rows = table(printed)
    plain, cascade = (build_model(Config({'model': each})) for each in (NAFNET, model))
    deployed = rows['deployed: parameters']
    assert deployed['plain'] == deployed['distilled'] == f'{count_parameters(plain):,}'
    assert deployed['ratio'] == rows['deployed: GFLOPs']['ratio'] == '1.00'
    assert rows['deployed: GFLOPs']['plain'] == f'{count_flops(plain, (32, 48)) / 1e9:.4f}'
    assert rows['training: parameters']['distilled'] == f'{count_parameters(cascade):,}'
    memory = rows['training: MiB at the peak of a step']
    assert float(memory['distilled']) > float(memory['plain']) > 0
    assert float(rows['training: ms per step']['ratio']) > 1
    for name in ('plain', 'distilled'):
        rate = 3e3 / float(rows['training: ms per step'][name])
        assert float(rows['training: images per second'][name]) == pytest.approx(rate, rel=0.01)
    assert '32 x 48' in printed
    assert 'median of 2' in printed
    for fact in ('threads', 'torch', 'Python'):
        assert fact in printed


@pytest.mark.slow
def test_a_thrifty_step_costs_less_memory_and_less_time_on_average(tmp_path, monkeypatch, capsys):
    model = cascade_model(NAFNET, teacher_interval=4)
    whole = {'model': model}
    # The student's activations would wait for those of the teacher, whose backward comes first.
    thrifty = {**whole, 'activation_checkpointing': ['restorer.generator']}
    shape = ('--shape', '64', '64', '--steps', '3')
    peaks = []
    for content in (whole, thrifty):
        Config(content).dump(tmp_path / 'distilled.py')
        rows = table(run(monkeypatch, capsys, tmp_path / 'distilled.py', *shape))
        peaks.append(float(rows['training: MiB at the peak of a step']['distilled']))
        step = {key: float(rows['training: ms per step'][key]) for key in ('plain', 'distilled')}
        mean = float(rows['training: ms per step, one of 4 with the teacher']['distilled'])
        assert mean == pytest.approx((step['distilled'] + 3 * step['plain']) / 4, abs=0.02)
    assert peaks[1] < 0.75 * peaks[0]


@pytest.mark.slow
def test_parts_add_up_in_json_and_a_figure(tmp_path, monkeypatch, capsys):
    model = cascade_model(NAFNET, sgr_loss={'type': 'SGRLoss'}, analyzer=random_analyzer())
    Config({'model': model}).dump(tmp_path / 'distilled.py')
    out = tmp_path / 'new/cost.json', tmp_path / 'new/cost.png'
    options = ('--shape', '32', '32', '--steps', '2', '--json', out[0], '--figure', out[1])
    printed = run(monkeypatch, capsys, tmp_path / 'distilled.py', *map(str, options))
    report = json.loads(out[0].read_text())
    plain, distilled = (report['parts'][name]['flops'] for name in ('plain', 'distilled'))
    assert set(plain) == {'student', 'rest'}
    assert {'student', 'teacher', 'SPF', 'target', 'analyser', 'SPD', 'SGR', 'rest'} <= set(
        distilled
    )
    # The student is the plain network, and the teacher is as large.
    assert distilled['student'] == plain['student'] > 0
    assert distilled['analyser'] > 0
    assert plain['rest'] == 0
    # Forward and backward is at most three times the forward pass; the target has no backward.
    single = count_flops(build_model(Config({'model': NAFNET})), (32, 32))
    assert 2 * single < plain['student'] <= 3 * single
    assert single < distilled['target'] < distilled['teacher'] + distilled['SPF']
    for name in ('plain', 'distilled'):
        total = report['totals']['training: GFLOPs'][name]
        assert sum(report['parts'][name]['flops'].values()) / 1e9 == pytest.approx(total)
        assert {'backward', 'optimiser'} <= set(report['parts'][name]['seconds'])
    assert 'analyser' in printed
    assert out[1].stat().st_size > 1000


def test_plain_config_alone(tmp_path, monkeypatch, capsys):
    Config({'model': NAFNET}).dump(tmp_path / 'plain.py')
    options = ('--shape', '16', '16', '--steps', '1', '--clock', 'cpu')
    wider = ('--cfg-options', 'model.generator.mid_channels=8')
    rows = table(run(monkeypatch, capsys, tmp_path / 'plain.py', *options))
    # A clock that ticks once each time it is read.
    monkeypatch.setattr(time, 'process_time', itertools.count().__next__)
    wide = table(run(monkeypatch, capsys, tmp_path / 'plain.py', *options, *wider))
    assert wide['deployed: ms per image']['plain'] == '1000.00'
    assert wide['training: ms per step']['plain'] == '1000.00'
    assert set(rows['deployed: parameters']) == {'cost', 'plain'}
    assert wide['deployed: parameters'] != rows['deployed: parameters']


def test_senseless_shape(tmp_path, monkeypatch, capsys):
    Config({'model': NAFNET}).dump(tmp_path / 'plain.py')
    for wrong in (('--shape', '0', '16'), ('--batch-size', '0'), ('--steps', '0')):
        with pytest.raises(SystemExit, match='must be at least 1'):
            run(monkeypatch, capsys, tmp_path / 'plain.py', *wrong)


def test_a_larger_batch_needs_more_memory_and_no_more_parameters(tmp_path, monkeypatch, capsys):
    Config({'model': NAFNET}).dump(tmp_path / 'plain.py')
    options = ('--shape', '32', '32', '--steps', '1', '--batch-size')
    one, four = (
        table(run(monkeypatch, capsys, tmp_path / 'plain.py', *options, size)) for size in '14'
    )
    assert one['training: parameters'] == four['training: parameters']
    assert one['deployed: GFLOPs'] == four['deployed: GFLOPs']
    flops = [float(rows['training: GFLOPs']['plain']) for rows in (one, four)]
    assert flops[1] == pytest.approx(4 * flops[0], abs=2e-4)
    key = 'training: MiB at the peak of a step'
    assert float(four[key]['plain']) > 2 * float(one[key]['plain'])


@pytest.mark.slow
def test_starts_in_a_fresh_interpreter():
    environment = {**os.environ, 'PYTHONPATH': str(TOOL.parents[1])}
    command = [sys.executable, TOOL, '--help']
    process = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert '--cfg-options' in process.stdout


def test_a_grey_restorer(tmp_path, monkeypatch, capsys):
    model = copy.deepcopy(NAFNET)
    model['generator']['img_channels'] = 1
    model['data_preprocessor'].update(mean=[0.0], std=[255.0])
    Config({'model': model}).dump(tmp_path / 'grey.py')
    printed = run(monkeypatch, capsys, tmp_path / 'grey.py', '--shape', '16', '16', '--steps', '1')
    colour = count_parameters(build_model(Config({'model': NAFNET})))
    assert 0 < int(table(printed)['deployed: parameters']['plain'].replace(',', '')) < colour
