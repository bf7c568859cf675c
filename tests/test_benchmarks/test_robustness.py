"""The robustness scripts in little."""

import importlib.util
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / 'benchmarks/robustness'


def load(name, monkeypatch, *arguments):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [name, *arguments])
    return module


def test_damaged_weights_end_in_documented_errors(monkeypatch, capsys):
    assert load('fuzz_weights', monkeypatch, '--count', '140').main() == 0
    assert '140 inputs, 0 faults' in capsys.readouterr().out


@pytest.mark.parametrize('kind', ['error', 'execution'])
def test_what_the_fuzzer_looks_for_is_found(monkeypatch, capsys, kind):
    fuzz = load('fuzz_weights', monkeypatch, '--count', '1')

    def broken(path):
        if kind == 'error':
            raise KeyError('raw')
        Path(fuzz.Hostile.marker).mkdir()

    monkeypatch.setattr(fuzz, 'READERS', {'broken': broken})
    assert fuzz.main() == 1
    shown = capsys.readouterr().out
    assert ('UNDOCUMENTED: KeyError' if kind == 'error' else 'was executed') in shown
