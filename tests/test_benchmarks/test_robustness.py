"""The robustness scripts in little."""

import importlib.util
import json
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / 'benchmarks/robustness'


def load(name, monkeypatch, *arguments):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
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


@pytest.mark.slow  # a process for each call
@pytest.mark.parametrize(
    ('tool', 'arguments'),
    [
        ('compare', '--truth {gt} --degraded {images} --model a={plain},{nan} --out {out}/f.png'),
        ('extract_regions', '{images} {out} --source superpixel --cfg-options scale=abc'),
        ('train', '{load_wide}'),
    ],
)
def test_wrong_calls_end_in_a_message(tool, arguments, tmp_path, monkeypatch):
    script = load('wrong_calls', monkeypatch)
    (named,) = [named for *call, named in script.all_calls() if call == [tool, arguments]]
    paths = script.build_world(tmp_path) | {'out': str(tmp_path / 'out')}
    code, text = script.call(tool, arguments, paths, tmp_path)
    assert script.judge(tool, code, text, named) is None, text
    assert not (tmp_path / 'out/regions.json').exists()


@pytest.mark.slow  # a process
def test_odd_files_are_restored_or_named(monkeypatch, capsys):
    arguments = ('--only', 'damage', '--networks', 'mixed')
    assert load('odd_files', monkeypatch, *arguments).main() == 0
    assert '0 restored, 44 refused by name, 0 faults' in capsys.readouterr().out


def test_what_became_of_an_odd_file_is_judged(tmp_path, monkeypatch):
    script = load('odd_files', monkeypatch)
    world, odd = tmp_path / 'odd', script.Odd('a.tif', script.DEEP)

    def fault(pixels, errors='', odd=odd, **how):
        if pixels is not None:
            (tmp_path / 'a.png').write_bytes(script.png(pixels, **how))
        return script.fault_of(odd, 'mixed', world / odd.name, tmp_path, errors)

    sound = script.expected('mixed', script.DEEP)
    assert fault(None) == 'neither restored nor refused'
    assert fault(sound) is None
    assert 'pixels differ' in fault(sound + np.array([0, 1, 0, 0], np.uint16))
    assert 'should be (24, 34, 4, 16)' in fault(sound[..., :3])
    assert 'should be' in fault(np.ascontiguousarray(sound >> 8, np.uint8))
    turned = (b'eXIf', script.camera(6).tobytes()[6:])
    assert 'turned by 6' in fault(sound, chunks=(turned,))
    profile = (b'iCCP', b'a\0\0' + zlib.compress(script.ICC))
    assert fault(sound, chunks=(profile,)) == 'has a profile'
    refused = f'not restored:\n  {world / "a.tif"} (ValueError: of a kind)\n'
    assert 'of a kind' in fault(None, refused)
    assert 'was restored' in fault(None, refused, script.Odd('a.tif'))
    (tmp_path / 'a.png').unlink()
    assert fault(None, refused, script.Odd('a.tif')) is None
    assert 'refused 0 times' in fault(None, '', script.Odd('a.tif'))


def test_what_a_wrong_call_must_not_do(monkeypatch):
    judge = load('wrong_calls', monkeypatch).judge
    assert judge('test', 1, 'test: net.pth is cut short', 'net.pth') is None
    assert judge('test', 0, 'test: net.pth is cut short', 'net.pth') == 'accepted'
    assert judge('test', 1, 'test: a file is cut short', 'net.pth') == "names no 'net.pth'"
    assert judge('test', 1, 'Traceback (most recent call last):\nnet.pth', 'net.pth') == 'traceback'
    assert judge('test', 1, 'test: net.pth\n' + 'no\n' * 99, 'net.pth') == 'long'


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        ({'seed': 'one'}, 'seed is'),
        ({'student': {'test': 3}}, 'scores are 3'),
        ({'environment': {'torch': {}}}, 'environment has'),
    ],
)
def test_results_of_other_types_are_refused_by_name(tmp_path, monkeypatch, change, told):
    fuzz = load('fuzz_regions', monkeypatch)
    sound = {'table': 't', 'row': 'r', 'seed': 0, 'seconds_before': 1.0, 'config': ''}
    sound |= {'student': {'test': {'PSNR': 20.0}}, 'teacher': {}, 'environment': {}}
    path = tmp_path / 'seed0.json'
    path.write_text(json.dumps(sound))
    assert fuzz.read_results([path])[0].student['test']['PSNR'] == 20
    path.write_text(json.dumps(sound | change))
    with pytest.raises(ValueError, match=rf'seed0\.json is no result .*{told}'):
        fuzz.read_results([path])
