"""The script that tries versions asks for what there is, and says which step failed."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from config_files import build
from mmengine.config import Config
from test_packaging.test_requirements import EXTRAS, PYTHONS

PATH = Path(__file__).parents[1] / 'matrix/run_matrix.py'


@pytest.fixture(scope='module')
def matrix():
    spec = importlib.util.spec_from_file_location('run_matrix', PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules['run_matrix'] = module
    spec.loader.exec_module(module)
    return module


def test_environments_are_of_supported_pythons_and_ask_for_extras_that_exist(matrix):
    for environment in matrix.ENVIRONMENTS.values():
        assert environment.python in PYTHONS
        (line,) = (line for line in environment.installs if line.startswith('.['))
        extras = re.match(r'\.\[([\w,]+)\]', line)[1].split(',')
        assert set(extras) <= set(EXTRAS)
        # One set of the host's packages, and MMagic without its own wishes.
        assert len({'mmlab', 'onedl'} & set(extras)) == 1
        assert '--no-deps mmagic==1.2.0' in environment.installs
    assert {each.python for each in matrix.ENVIRONMENTS.values()} == set(PYTHONS)


def test_the_config_of_the_job_builds(matrix, tmp_path):
    text = matrix.CONFIG.replace("'mmsamdistill::", f"'{PATH.parents[2].as_posix()}/configs/")
    (tmp_path / 'config.py').write_text(text)
    cfg = Config.fromfile(tmp_path / 'config.py')
    model = {**cfg.model, 'sgr_loss': None}  # the random VGG warns
    assert build(model) is not None
    assert cfg.train_cfg.max_iters == 2


def test_a_step_that_fails_is_named_in_the_row(matrix, tmp_path, monkeypatch, capsys):
    def fail(command, folder):
        raise RuntimeError(f'{command[-1]} broke\nbecause')

    monkeypatch.setattr(matrix, 'call', fail)
    monkeypatch.setattr(matrix, 'find_python', lambda version: version)
    row = matrix.run_environment('newest', tmp_path)
    assert row['result'] == 'FAILED: because'
    assert 'env broke' in capsys.readouterr().err
