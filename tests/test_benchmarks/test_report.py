"""Tables, figures and the overview come from result files, the committed ones included."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from toy_table import result, write_table

from lab import load_table
from lab.overview import overview
from lab.results import write_result

ROOT = Path(__file__).parents[2]
ROWS = """dict(plain=dict(), ours=dict(title='Ours'),
    alone=dict(title='Of one table'), teacher=dict(title='Teacher'))"""


def tables(tmp_path):
    for name in ('first', 'second'):
        write_table(tmp_path, ROWS, in_domain="'in'").rename(tmp_path / f'{name}.py')
    (tmp_path / '_rows_.py').write_text('broken')
    return [load_table(tmp_path / f'{name}.py') for name in ('first', 'second')]


@pytest.fixture
def report(monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['report.py', *map(str, arguments)])
        runpy.run_path(str(ROOT / 'benchmarks/report.py'), run_name='__main__')

    return run


def write(folder, table, results):
    for each in results:
        write_result(folder, type(each)(**{**vars(each), 'table': table}))


def runs(gain, *others):
    pairs = [('plain', 26.0), ('ours', 26.0 + gain), *others]
    return [result(row, seed, psnr + seed) for row, psnr in pairs for seed in (0, 1)]


def test_overview_has_the_gains_of_rows_that_tables_share(tmp_path):
    both = {'first': runs(0.25, ('alone', 27.0)), 'second': runs(-0.5)}
    assert overview(tables(tmp_path), both) == [
        {'training': 'Ours', 'first': '+0.25 ± 0.00', 'second': '-0.50 ± 0.00'}
    ]


def test_reports_are_written_for_every_table_with_results(tmp_path, report):
    tables(tmp_path)
    write(tmp_path / 'results', 'first', runs(0.25))
    paths = [tmp_path / name for name in ('_rows_.py', 'first.py', 'second.py')]
    settings = ['--results', tmp_path / 'results', '--out', tmp_path / 'out']
    report(*paths, *settings)
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert names == {'first.md', 'first.csv', 'first.json', 'first.png'}
    write(tmp_path / 'results', 'second', runs(-0.5))
    report(*paths, *settings)
    assert '+0.25 ± 0.00' in (tmp_path / 'out/overview.md').read_text()
    content = json.loads((tmp_path / 'out/second.json').read_text())
    assert content['results'][1]['gain'] == '-0.50 ± 0.00'
    assert content['environments'] == [{'torch': '2'}]


def test_a_table_may_stay_out_of_the_overview(tmp_path, report):
    tables(tmp_path)
    third = tmp_path / 'third.py'
    third.write_text((tmp_path / 'second.py').read_text() + 'overview = False\n')
    paths = [tmp_path / 'first.py', tmp_path / 'second.py', third]
    for name in ('first', 'second', 'third'):
        write(tmp_path / 'results', name, runs(0.25))
    report(*paths, '--results', tmp_path / 'results', '--out', tmp_path / 'out')
    heading = (tmp_path / 'out/overview.md').read_text().splitlines()[0]
    assert heading.replace(' ', '') == '|training|first|second|'
    assert (tmp_path / 'out/third.md').is_file()


def test_no_results_are_an_error(tmp_path, report):
    tables(tmp_path)
    with pytest.raises(SystemExit, match='no results of these tables'):
        report(tmp_path / 'first.py', tmp_path / 'second.py', '--results', tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / 'benchmarks').is_dir(), reason='benchmarks are in the repository')
def test_committed_reports_are_what_the_committed_results_say(tmp_path, report):
    folder = ROOT / 'benchmarks/bsds500'
    files = sorted((folder / 'tables').glob('*.py'))
    report(*files, '--results', folder / 'results', '--out', tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.glob('*.md')}
    committed = {path.name: path.read_text() for path in (folder / 'reports').glob('*.md')}
    assert made == {name: committed[name] for name in made}
    page = (ROOT / 'docs/results.md').read_text()
    assert made['overview.md'].strip() in page
