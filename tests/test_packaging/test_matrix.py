"""The script that follows README.md in fresh environments asks for what there is."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from readme import installation
from test_packaging.test_requirements import EXTRAS, PYTHONS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def matrix():
    spec = importlib.util.spec_from_file_location('run_matrix', ROOT / 'tests/matrix/run_matrix.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules['run_matrix'] = module
    spec.loader.exec_module(module)
    return module


def test_environments_are_of_supported_pythons_and_ask_for_extras_that_exist(matrix):
    assert set(matrix.PYTHONS) == set(PYTHONS)
    for environment in matrix.ENVIRONMENTS.values():
        assert environment.python in (None, *PYTHONS)
        lines = installation(environment.changes)
        assert all(line[:2] == ['pip', 'install'] for line in lines)
        # One set of the host's packages first, and MMagic without its own wishes.
        found = [re.match(r'\.\[([\w,]+)\]', line[2]) for line in lines]
        (extras,) = [match[1].split(',') for match in found if match]
        assert set(extras) <= set(EXTRAS)
        assert len({'mmlab', 'onedl'} & set(extras)) == 1
        assert ['pip', 'install', '--no-deps', 'mmagic==1.2.0'] in lines


def test_a_change_of_what_readme_does_not_say_is_an_error():
    assert installation({'mmlab': 'onedl'})[1][2] == '.[onedl,edges]'
    with pytest.raises(ValueError, match="does not say 'conda'"):
        installation({'conda': 'mamba'})


def test_continuous_integration_follows_readme():
    assert 'tests/matrix/run_matrix.py README' in (ROOT / '.ci/run').read_text()


def test_a_step_that_fails_is_named_in_the_row(matrix, tmp_path, monkeypatch, capsys):
    def fail(self, *command, **_):
        raise RuntimeError(f'{command[-1]} broke\nbecause')

    monkeypatch.setattr(matrix.Trial, 'call', fail)
    row = matrix.try_environment('README', 'python3', tmp_path)
    assert row['result'] == 'FAILED: because'
    assert 'env broke' in capsys.readouterr().err
