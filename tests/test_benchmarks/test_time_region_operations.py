"""The benchmark of the region operations, tiny: all ways give one result."""

import runpy
from pathlib import Path

import pytest
import torch

TOOL = Path(__file__).parents[2] / 'benchmarks/time_region_operations.py'
TINY = ['--sizes', '16', '--regions', '1', '9', '--channels', '2', '--repeats', '1']


@pytest.mark.parametrize('options', [[], ['--backward', '--batch-size', '2']])
def test_every_way_has_a_column(capsys, monkeypatch, options):
    monkeypatch.setattr(torch, 'set_num_threads', lambda threads: None)
    runpy.run_path(str(TOOL))['main']([*TINY, *options])
    printed = capsys.readouterr().out
    one, nine = [line for line in printed.splitlines() if line.startswith('| 16x16')]
    assert one.split('|')[2].strip() == '1'
    assert nine.split('|')[2].strip() == '9'
    assert nine.count('times') == 3


def test_one_hot_without_the_memory_for_it_is_left_out(capsys, monkeypatch):
    monkeypatch.setattr(torch, 'set_num_threads', lambda threads: None)
    runpy.run_path(str(TOOL))['main']([*TINY, '--gigabytes', '0'])
    assert '| -' in capsys.readouterr().out


def test_the_other_ways_ignore_pixels_in_no_region():
    tool = runpy.run_path(str(TOOL))
    labels = torch.tensor([[[0, 1], [2, 2]]])
    x = torch.tensor([[[[7.0, 1.0], [3.0, 5.0]]]])
    for name in ('region_map', 'with_one_hot', 'with_loop', 'with_masks'):
        assert tool[name](labels, x).flatten().tolist() == [0.0, 1.0, 4.0, 4.0]
