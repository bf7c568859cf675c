"""tools/doctor.py: known-bad versions, and what it ends with."""

import importlib.util
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from toy import NAFNET, cascade_model, config, write_data

from mmsamdistill import diagnosis

PATH = Path(__file__).parents[2] / 'tools/doctor.py'


@pytest.fixture(scope='module')
def doctor():
    spec = importlib.util.spec_from_file_location('tool_doctor', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOOD = {
    'torch': '2.1.2+cpu',
    'torchvision': '0.16.2',
    'numpy': '1.26.4',
    'mmengine': '0.10.7',
    'mmcv-lite': '2.1.0',
    'mmagic': '1.2.0',
    'openmim': '0.3.9',
    'setuptools': '80.8.0',
}
WISHES = requires('mmsamdistill')


@pytest.mark.parametrize(
    ('change', 'verdict', 'cure'),
    [
        (
            {'onedl-mmcv': '2.3.6'},
            'FAILED',
            "pip uninstall -y mmengine mmcv-lite onedl-mmcv && pip install 'mmsamdistill[mmlab]'",
        ),
        ({'mmcv': '2.1.0'}, 'FAILED', 'pip uninstall -y mmengine mmcv mmcv-lite'),
        ({'numpy': '2.0.1'}, 'FAILED', "'numpy<2'"),
        ({'torch': '2.4.0'}, 'FAILED', 'one line'),
        ({'setuptools': '82.0.1'}, 'FAILED', "'setuptools<82,>=77'"),
        ({'mmcv-lite': '2.2.0'}, 'remark', "'mmcv-lite<2.2.0,>=2.0.1'"),
        ({'scipy': '1.9.3'}, 'remark', "'scipy>=1.10'"),
        ({'mmagic': '1.3.0'}, 'remark', 'mmagic==1.2.0'),
        (
            {'opencv-python': '4.9.0', 'opencv-python-headless': '4.9.0'},
            'remark',
            'pip install opencv-python-headless',
        ),
    ],
)
def test_known_bad_pairs_are_found_with_their_cure(doctor, change, verdict, cure):
    assert list(doctor.check_versions(GOOD, '2.1.2', WISHES)) == []
    ((found, _, text),) = doctor.check_versions({**GOOD, **change}, '2.1.2', WISHES)
    assert found == verdict
    assert cure in text


def test_the_fork_of_mmengine_wants_a_later_torch(doctor):
    fork = {**GOOD, 'onedl-mmengine': '0.10.12'}
    del fork['mmengine']
    ((verdict, _, text),) = doctor.check_versions(fork, '2.1.2', WISHES)
    assert verdict == 'FAILED'
    assert text.endswith("pip install 'torch>=2.3'")
    later = {**fork, 'torch': '2.3.1', 'torchvision': '0.18.1'}
    assert list(doctor.check_versions(later, '2.3.1', WISHES)) == []
    both = {**later, 'mmengine': '0.10.7'}
    ((_, _, text),) = doctor.check_versions(both, '2.3.1', WISHES)
    assert text.endswith("&& pip install 'mmsamdistill[onedl]'")


def test_newer_torch_takes_numpy_2_and_nothing_installed_is_no_finding(doctor):
    newer = {**GOOD, 'torch': '2.10.0', 'numpy': '2.4.0'}
    assert list(doctor.check_versions(newer, '2.10.0', WISHES)) == []
    assert list(doctor.check_versions({}, wishes=WISHES)) == []


def test_this_environment_has_no_known_bad_pair(doctor):
    installed, built_for = doctor.installed_versions()
    assert installed['torch'].startswith(built_for)
    assert built_for
    assert not list(doctor.check_versions(installed, built_for, WISHES))


def test_the_exit_code_tells_whether_something_failed(doctor, tmp_path, monkeypatch, capsys):
    # MMagic's models take seconds to import, and are looked at by a test of their own.
    monkeypatch.setattr(diagnosis, 'unavailable_editors', lambda: {'edvr': 'no operators'})
    cfg = config(write_data(tmp_path), tmp_path / 'work', cascade_model(NAFNET))
    cfg.dump(tmp_path / 'config.py')
    monkeypatch.setattr(sys, 'argv', ['doctor', str(tmp_path / 'config.py'), '--device', 'cpu'])
    assert doctor.main() == 0
    output = capsys.readouterr().out
    assert 'a training can run' in output
    assert 'edvr' in output
    for check in ('check_data_of', 'check_step', 'check_machine'):  # one is enough
        with monkeypatch.context() as patched:
            patched.setattr(diagnosis, check, lambda *_: iter([('FAILED', 'it', 'why')]))
            assert doctor.main() == 1
        assert 'FAILED  it: why' in capsys.readouterr().out
    (tmp_path / 'gt/0.png').write_bytes(b'')
    sys.argv[-1] = 'cuda:99'
    assert doctor.main() == 1
    output = capsys.readouterr().out
    assert 'FAILED  data' in output
    assert "FAILED  device: device 'cuda:99' is not there" in output
    assert 'ok      step' in output  # looked at all the same
