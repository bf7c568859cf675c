"""Means, errors and paired differences against NumPy."""

import dataclasses

import numpy as np
import pytest
from toy_table import result

from lab import read_results, result_path, summarise
from lab.figure import draw_gains
from lab.results import write_result
from lab.summary import compare_rows, difference, estimate

PLAIN = [26.0, 26.4, 26.1]
OURS = [26.3, 26.6, 26.5]


def results():
    plain = [result('plain', seed, value) for seed, value in enumerate(PLAIN)]
    ours = [result('ours', seed, value, 0.25, teacher=28.0) for seed, value in enumerate(OURS)]
    return plain + ours


def test_estimate_is_the_mean_and_its_standard_error():
    found = estimate(OURS)
    assert found.mean == pytest.approx(np.mean(OURS))
    assert found.error == pytest.approx(np.std(OURS, ddof=1) / np.sqrt(3))
    assert estimate([1.0]).error is None


def test_differences_are_paired_by_seed_whatever_the_order():
    ours, plain = dict(enumerate(OURS)), dict(enumerate(PLAIN))
    shuffled = {seed: plain[seed] for seed in (2, 0, 1)}
    found = difference(ours, shuffled)
    gains = np.subtract(OURS, PLAIN)
    assert found.mean == pytest.approx(gains.mean())
    assert found.error == pytest.approx(gains.std(ddof=1) / np.sqrt(3))
    assert difference({0: 1.0}, {1: 1.0}) is None
    assert difference({0: 2.0, 5: 9.0}, {0: 1.0}).count == 1


def test_cost_counts_the_stages_before():
    runs = [result('plain', 0, 26.0), result('ours', 0, 26.1, 0.2, before=30.0)]
    _, ours = summarise(runs, {'plain': 'Plain', 'ours': 'Ours'}, 'in')
    assert ours['cost'] == '5.0'  # 20 s and 30 s, against 10 s


def test_summary_of_a_table():
    plain, ours = summarise(results(), {'plain': 'Plain', 'ours': 'Ours', 'none': 'None'}, 'in')
    assert plain == {
        'training': 'Plain',
        'seeds': 3,
        'in': '26.17 ± 0.12',
        'gain': '',
        'gain, out': '',
        'held out': '',
        'teacher': '',
        'cost': '1.0',
        'collapsed': 0,
    }
    assert (ours['in'], ours['gain'], ours['teacher']) == (
        '26.47 ± 0.09',
        '+0.30 ± 0.06',
        '28.00 ± 0.00',
    )
    assert (ours['gain, out'], ours['cost']) == ('+0.30 ± 0.06', '2.5')


def test_validations_count_as_held_out_only_where_the_config_says_so():
    runs = [dataclasses.replace(run, config='held_out = [30]') for run in results()]
    assert summarise(runs, {'plain': 'Plain'}, 'in')[0]['held out'] == '26.17 ± 0.12'
    fixed = [dataclasses.replace(run, student={}) for run in runs]
    assert summarise(fixed, {'plain': 'Plain'}, 'in')[0]['held out'] == ''


def test_small_numbers_are_printed_with_more_digits():
    scores = {'in': {'SSIM': 0.71234}}
    runs = [dataclasses.replace(result('plain', 0, 26.0), student=scores, curve=[])]
    row = summarise(runs, {'plain': 'Plain'}, 'in', metric='SSIM')[0]
    assert (row['in'], row['held out']) == ('0.7123', '')


def test_questions_are_answered_where_both_rows_have_run():
    titles = {'plain': 'Plain', 'ours': 'Ours', 'none': 'None'}
    (row,) = compare_rows(results(), titles, [('plain', 'ours'), ('ours', 'none')])
    assert row == {
        'difference': 'Plain - Ours',
        'seeds': 3,
        'in': '-0.30 ± 0.06',
        'out': '-0.30 ± 0.06',
    }


def test_one_slow_run_does_not_change_the_cost():
    slow = [result('ours', seed, 26.0, seconds) for seed, seconds in enumerate((0.2, 0.2, 9.0))]
    plain = [result('plain', seed, 26.0) for seed in range(3)]
    assert summarise(plain + slow, {'ours': 'Ours'}, 'in')[0]['cost'] == '2.0'


def test_times_of_unlike_machines_are_not_compared():
    titles = {'plain': 'Plain', 'ours': 'Ours'}
    plain, ours = result('plain', 0, 26.0), result('ours', 0, 26.0, 0.2)
    slow = {**plain.environment, 'instructions': 'AVX2'}
    elsewhere = [
        dataclasses.replace(result('ours', seed, 26.0, 0.9), environment=slow) for seed in (1, 2, 3)
    ]
    assert summarise([plain, *elsewhere], titles, 'in')[1]['cost'] == ''
    assert summarise([plain, ours, *elsewhere], titles, 'in')[1]['cost'] == '2.0'
    there = dataclasses.replace(result('plain', 1, 26.0, 0.3), environment=slow)
    assert summarise([plain, ours, there, *elsewhere], titles, 'in')[1]['cost'] == '3.0'


def test_collapses_are_counted_and_a_loss_has_its_sign():
    runs = [result('plain', 0, 26.0), result('ours', 0, 23.5, collapse='iteration 50: loss nan')]
    row = summarise(runs, {'ours': 'Ours'}, 'in')[0]
    assert (row['collapsed'], row['gain']) == (1, '-2.50')


def test_results_survive_being_written(tmp_path):
    for each in results():
        path = write_result(tmp_path, each)
        assert path == result_path(tmp_path, 'toy', each.row, each.seed)
    assert sorted(read_results([tmp_path]), key=lambda r: (r.row, r.seed)) == sorted(
        results(), key=lambda r: (r.row, r.seed)
    )


def test_a_collapsed_run_is_written_as_strict_json(tmp_path):
    path = write_result(tmp_path, result('ours', 0, float('nan')))
    assert 'NaN' not in path.read_text()
    summary = summarise(read_results([path]), {'ours': 'Ours'}, 'in')
    assert summary[0]['in'] == ''


def test_what_is_no_result_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no results'):
        read_results([tmp_path])
    broken = tmp_path / 'seed0.json'
    broken.write_text('{"table": 1}')
    with pytest.raises(ValueError, match=r'seed0.json is no result'):
        read_results([broken])


def test_figure_is_drawn_or_refused(tmp_path):
    path = draw_gains(results(), {'plain': 'Plain', 'ours': 'Ours'}, 'in', tmp_path / 'report')
    assert path == tmp_path / 'report.png'
    assert path.read_bytes().startswith(b'\x89PNG')
    with pytest.raises(ValueError, match='nothing to draw'):
        draw_gains(results()[:3], {'plain': 'Plain'}, 'in', tmp_path / 'none')
