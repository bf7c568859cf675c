import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def make_env():
    spec = importlib.util.spec_from_file_location('make_env', ROOT / 'requirements' / 'make_env.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def installs(make_env, monkeypatch):
    """Environments without packages: what is tested is when they are made."""
    calls = []
    monkeypatch.setattr(make_env, 'install', lambda env: calls.append('install'))
    original = make_env.call

    def call(*command):
        if 'venv' in command:
            calls.append('venv')
            command = (*command[:3], '--without-pip', *command[3:])
        original(*command)

    monkeypatch.setattr(make_env, 'call', call)
    return calls


def test_second_time_does_nothing(make_env, installs, tmp_path):
    env = tmp_path / 'with space'
    make_env.prepare(env)
    assert installs == ['venv', 'install']
    make_env.prepare(env)
    make_env.prepare(env, this_python=True)
    assert installs == ['venv', 'install']


def test_changed_lock_file_updates_in_place(make_env, installs, tmp_path, monkeypatch):
    make_env.prepare(tmp_path / 'env')
    monkeypatch.setattr(make_env, 'fingerprint', lambda: 'another')
    make_env.prepare(tmp_path / 'env')
    assert installs == ['venv', 'install', 'install']


def damage_interpreter(env):
    (env / 'bin' / 'python').unlink()
    (env / 'bin' / 'python').symlink_to('/nowhere/python')


def damage_record(env):
    (env / 'mmsamdistill-env.json').unlink()


def truncate_record(env):
    (env / 'mmsamdistill-env.json').write_text('{"state": ')


def interrupt(env):
    path = env / 'mmsamdistill-env.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'state': 'installing'}))


def another_python(env):
    path = env / 'mmsamdistill-env.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'python': '3.9.1 /usr'}))


def replace_by_file(env):
    env.rename(env.with_name('away'))
    env.write_text('not a folder')


def replace_by_dangling_link(env):
    env.rename(env.with_name('away'))
    env.symlink_to('nowhere')


def move_away_and_back_as_another(env):
    path = env / 'mmsamdistill-env.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'place': '/somewhere/else'}))


@pytest.mark.parametrize(
    'damage',
    [
        damage_interpreter,
        damage_record,
        truncate_record,
        interrupt,
        another_python,
        replace_by_file,
        replace_by_dangling_link,
        move_away_and_back_as_another,
    ],
)
def test_unusable_environment_is_rebuilt(make_env, installs, tmp_path, damage):
    env = tmp_path / 'env'
    make_env.prepare(env)
    damage(env)
    make_env.prepare(env)
    assert installs == ['venv', 'install'] * 2
    assert make_env.identify(env / 'bin' / 'python') == make_env.identify(make_env.base_python())


def test_failed_installation_is_not_ready(make_env, installs, tmp_path, monkeypatch):
    def fail(env):
        raise SystemExit('no network')

    with monkeypatch.context() as patch:
        patch.setattr(make_env, 'install', fail)
        with pytest.raises(SystemExit, match='no network'):
            make_env.prepare(tmp_path / 'env')
    make_env.prepare(tmp_path / 'env')
    assert installs == ['venv', 'venv', 'install']


def test_fingerprint_depends_on_content(make_env, tmp_path):
    path = tmp_path / 'lock.txt'
    path.write_text('a==1')
    before = make_env.fingerprint([path])
    path.touch()
    assert make_env.fingerprint([path]) == before
    path.write_text('a==2')
    assert make_env.fingerprint([path]) != before


def test_failing_command_is_named(make_env):
    with pytest.raises(SystemExit, match='status 3'):
        make_env.call(sys.executable, '-c', 'import sys; sys.exit(3)')


def dry_run(target, *variables):
    return subprocess.run(
        ['make', '-n', target, *variables],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith('MAKE')},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.slow
def test_make_demo_passes_its_variables_on():
    plain = dry_run('demo')
    assert 'demo/run_demo.py' in plain
    assert '--sam-checkpoint' not in plain
    full = dry_run('demo', 'SAM=~/sam b.pth', 'VGG=/v.pth', 'WORK_DIR=w', 'QUICK=1')
    assert f'--sam-checkpoint "{os.environ["HOME"]}/sam b.pth"' in full
    assert '--vgg-checkpoint "/v.pth"' in full
    assert '--work-dir "w"' in full
    assert '--quick' in full


@pytest.mark.slow
def test_make_test_runs_every_gate_and_the_tests_last():
    lines = dry_run('test', 'ARGS=-k region').strip().splitlines()
    commands = [line.split(' -m ')[1].split()[0] for line in lines if ' -m ' in line]
    assert commands == ['ruff', 'ruff', 'mypy', 'pytest']
    assert lines[-1].endswith(' -k region')
