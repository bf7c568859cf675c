"""Runs of a table: results, order, resuming, failing."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from toy_table import result, write_table

from lab import load_table, read_results, result_path, row_config
from lab.run import KeepCurve, measure_network, run_row
from lab.schedule import pending_runs, run_all

ROWS = """dict(
    plain=dict(),
    degraded=dict(trained=False),
    longer=dict(length=1.75),
    tight=dict(
        regions='regions',
        distill=dict(regions=dict(type='CachedRegions'), sgr_loss=None,
                     spf=dict(type='SPFHead', channels=4, depth=1)),
    ),
    first=dict(
        distill=dict(regions=None, spf=None, sgr_loss=None, spd_loss=None, stage='teacher',
                     teacher_input='degraded'),
    ),
    second=dict(
        regions='regions', start_from='tight',
        distill=dict(regions=dict(type='CachedRegions'), sgr_loss=None, stage='student',
                     spf=dict(type='SPFHead', channels=4, depth=1)),
    ),
)"""


def make_table(folder):
    path = write_table(folder, ROWS)
    text = (folder / 'plain.py').read_text()
    # As the benchmark's configs do: each test set has its name.
    text += (
        "\ntest_evaluator = [dict(type='RestorationMetric', protocol='denoise_rgb', prefix='test')]"
    )
    text += "\nval_evaluator = [dict(type='RestorationMetric', protocol='denoise_rgb')]\n"
    (folder / 'plain.py').write_text(text)
    return load_table(path)


@pytest.fixture
def table(tmp_path):
    return make_table(tmp_path)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Table and results of a run of each row, for all tests that look at them."""
    folder = tmp_path_factory.mktemp('finished')
    table = make_table(folder)
    for name in ('plain', 'tight', 'longer', 'second', 'first'):
        run_row(table, name, 0, folder / 'out')
    return table, folder / 'out'


def result_of(finished, name):
    return read_results([result_path(finished[1], 'toy', name, 0)])[0]


@pytest.mark.slow
def test_a_table_from_runs_to_results(finished):
    plain, tight, longer = (result_of(finished, name) for name in ('plain', 'tight', 'longer'))
    assert set(plain.student) == {'test'}
    assert set(plain.student['test']) == {'PSNR', 'SSIM'}
    assert plain.teacher == {}
    assert set(tight.teacher) == {'test'}
    assert plain.iterations == 4
    assert longer.iterations == 7
    assert [point['iteration'] for point in plain.curve] == [2, 4]
    assert plain.collapse is None
    assert 'SAMDistillRestorer' in tight.config
    assert torch.__version__.startswith(plain.environment['torch'])


@pytest.mark.slow
def test_the_degraded_image_is_measured_without_training(table, tmp_path, monkeypatch):
    monkeypatch.setattr(Runner, 'train', lambda runner: pytest.fail('trained'))
    run_row(table, 'degraded', 0, tmp_path / 'out')
    result = read_results([result_path(tmp_path / 'out', 'toy', 'degraded', 0)])[0]
    errors = [
        (cv2.imread(str(path)).astype(float) - cv2.imread(str(path.parents[1] / 'gt' / path.name)))
        for path in sorted((tmp_path / 'data/img').iterdir())
    ]
    expected = np.mean([10 * np.log10(255**2 / np.square(error).mean()) for error in errors])
    assert result.student['test']['PSNR'] == pytest.approx(expected, abs=1e-4)
    assert (result.seconds, result.iterations, result.curve) == (0, 0, [])


@pytest.mark.slow
def test_a_finished_run_is_left_alone(finished, monkeypatch):
    table, out = finished
    before = result_path(out, 'toy', 'plain', 0).read_bytes()
    monkeypatch.setattr(Runner, 'from_cfg', lambda cfg: pytest.fail('ran again'))
    path = run_row(table, 'plain', 0, out)
    assert path == result_path(out, 'toy', 'plain', 0)
    assert path.read_bytes() == before


@pytest.mark.slow
def test_of_two_processes_at_one_run_the_second_waits(table, tmp_path, monkeypatch):
    started = []

    def slow(table, name, seed, folder):
        started.append(name)
        time.sleep(0.2)
        return result(name, seed, 26.0)

    monkeypatch.setattr('lab.run._run', slow)
    with ThreadPoolExecutor() as pool:
        paths = list(pool.map(lambda _: run_row(table, 'plain', 0, tmp_path / 'out'), range(2)))
    assert started == ['plain']
    assert read_results(paths[:1]) == read_results(paths[1:])


@pytest.mark.slow
def test_a_killed_run_is_resumed_and_ends_as_if_it_had_not_been(
    finished, table, tmp_path, monkeypatch
):
    whole = result_of(finished, 'tight')

    def die(hook, runner, metrics=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KeepCurve, 'after_val_epoch', die)
        with pytest.raises(KeyboardInterrupt):
            run_row(table, 'tight', 0, tmp_path / 'out')
    assert not result_path(tmp_path / 'out', 'toy', 'tight', 0).exists()
    resumed = read_results([run_row(table, 'tight', 0, tmp_path / 'out')])[0]
    assert [point['iteration'] for point in resumed.curve] == [4]
    assert (resumed.student, resumed.teacher) == (whole.student, whole.teacher)


class KeepTest(Hook):
    """Keeps what the host's own test loop measures."""

    def after_test_epoch(self, runner, metrics=None):
        self.metrics = metrics


@pytest.mark.slow
def test_scores_are_those_of_the_host_loop(table, tmp_path):
    cfg = row_config(table, 'plain', 0)
    cfg.work_dir = str(tmp_path / 'host')
    runner, kept = Runner.from_cfg(cfg), KeepTest()
    runner.register_hook(kept)
    runner.train()
    runner.test()
    model = runner.model
    scores = measure_network(runner, lambda i, s: model(i, s, mode='predict'))
    expected = {f'test/{name}': value for name, value in scores['test'].items()}
    assert expected == pytest.approx({name: kept.metrics[name] for name in expected})
    assert measure_network(runner, lambda i, s: model(i, s, mode='predict'), only='other') == {}


def weights(out, row):
    last = result_path(out, 'toy', row, 0).with_suffix('') / 'last_checkpoint'
    return torch.load(last.read_text().strip(), weights_only=True)['state_dict']


@pytest.mark.slow
def test_a_second_stage_starts_from_the_weights_of_the_first(finished):
    first, second = (weights(finished[1], name) for name in ('tight', 'second'))
    fixed = [key for key in first if key.startswith('teacher.')]
    assert fixed
    assert all(torch.equal(first[key], second[key]) for key in fixed)
    trained = [key for key in first if key.startswith('restorer.')]
    assert any(not torch.equal(first[key], second[key]) for key in trained)
    before, after = (result_of(finished, name) for name in ('tight', 'second'))
    assert after.seconds_before == before.seconds_per_iteration * 4
    assert after.seconds == pytest.approx(before.seconds + 4 * after.seconds_per_iteration)


@pytest.mark.slow
def test_where_a_teacher_alone_was_trained_there_is_no_student(finished):
    result = result_of(finished, 'first')
    assert result.student == {}
    assert result.teacher['test']['PSNR'] > 5


@pytest.mark.slow
def test_what_a_row_needs_must_have_run(table, tmp_path):
    with pytest.raises(FileNotFoundError, match="'second' needs the result of 'tight'"):
        run_row(table, 'second', 0, tmp_path / 'out')


def test_pending_runs_are_ordered_by_seed_and_need(table, tmp_path):
    assert pending_runs(table, ['plain', 'second'], [1, 0], tmp_path) == [
        *(('plain', 1), ('tight', 1), ('second', 1)),
        *(('plain', 0), ('tight', 0), ('second', 0)),
    ]
    done = result_path(tmp_path, 'toy', 'tight', 1)
    done.parent.mkdir(parents=True)
    done.write_text('{}')
    assert ('tight', 1) not in pending_runs(table, ['second'], [1], tmp_path)
    with pytest.raises(KeyError, match='no row'):
        pending_runs(table, ['nothing'], [0], tmp_path)


@pytest.mark.slow
def test_failures_take_along_what_needs_them_and_nothing_else(table, tmp_path):
    script = tmp_path / 'job.py'
    script.write_text(
        'import json, sys, time\nname, path = sys.argv[1:]\n'
        "if name == 'tight': sys.exit('broken')\n"
        "time.sleep(0.1)\nopen(path, 'a').write(json.dumps(name) + '\\n')\n"
    )
    log, lines = tmp_path / 'order.txt', []
    runs = pending_runs(table, ['plain', 'longer', 'tight', 'second'], [0], tmp_path)
    failed = run_all(
        table, runs, tmp_path, 2, lambda row, seed: [str(script), row, str(log)], lines.append
    )
    assert sorted(failed) == [('second', 0), ('tight', 0)]
    ran = sorted(json.loads(line) for line in log.read_text().splitlines())
    assert ran == ['longer', 'plain']
    assert any('left out' in line for line in lines)
    assert 'broken' in (tmp_path / 'toy/tight/seed0.log').read_text()


@pytest.mark.slow
def test_no_more_runs_at_a_time_than_told(table, tmp_path):
    with pytest.raises(ValueError, match='jobs must be above 0'):
        run_all(table, [], tmp_path, 0, lambda row, seed: [])


@pytest.mark.slow
def test_runs_keep_their_memory_unless_told_otherwise(table, tmp_path, monkeypatch):
    script = tmp_path / 'say.py'
    script.write_text('import os; print({k: v for k, v in os.environ.items() if "MALLOC_" in k})')
    monkeypatch.setenv('MALLOC_TRIM_THRESHOLD_', '5')
    assert not run_all(table, [('plain', 0)], tmp_path, 1, lambda row, seed: [str(script)])
    seen = (tmp_path / 'toy/plain/seed0.log').read_text()
    assert "'MALLOC_TRIM_THRESHOLD_': '5'" in seen
    assert "'MALLOC_MMAP_THRESHOLD_': '4294967296'" in seen
