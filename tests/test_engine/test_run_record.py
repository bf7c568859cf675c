"""run.json: what was run, so that it can be run again."""

import json

import pytest
from mmengine.config import Config
from toy import config, plain_model, run_training, write_data

from mmsamdistill.engine.hooks.run_record import fingerprint, git_state

pytestmark = pytest.mark.slow  # whole runs


@pytest.mark.slow
def test_a_run_can_be_told_again(tmp_path):
    data = write_data(tmp_path / 'data')
    settings = config(
        data, tmp_path / 'run', plain_model(), custom_hooks=[{'type': 'RunRecordHook'}]
    )
    run_training(settings)
    first = json.loads((tmp_path / 'run/run.json').read_text())
    assert first['seed'] == 0
    assert {'torch', 'mmengine', 'mmsamdistill', 'python'} <= set(first['versions'])
    assert Config(first['config']).model.generator.type == 'ToyNet'
    assert first['data'][f'{data}/gt']['files'] == 4
    assert str(data) not in first['data']  # its folders are named: nothing is walked twice
    assert first['command']

    run_training(Config({**settings.to_dict(), 'resume': True}))
    second = json.loads((tmp_path / 'run/run.json').read_text())
    assert second['iteration'] == 4
    (earlier,) = second['earlier']
    assert earlier['iteration'] == 0
    run_training(Config({**settings.to_dict(), 'resume': True}))
    third = json.loads((tmp_path / 'run/run.json').read_text())
    assert [each['iteration'] for each in third['earlier']] == [0, 4]
    (tmp_path / 'run/run.json').write_text('[]')  # a damaged one is replaced
    run_training(Config({**settings.to_dict(), 'resume': True}))
    assert json.loads((tmp_path / 'run/run.json').read_text())['earlier'] == []


def test_fingerprints_tell_data_and_caches_apart(tmp_path):
    data = write_data(tmp_path / 'data')
    same = fingerprint(data)
    assert fingerprint(data) == same
    (data / 'regions/regions.json').write_text('{}')
    other = fingerprint(data / 'regions')
    (data / 'regions/regions.json').write_text('[]')
    assert fingerprint(data / 'regions')['manifest_sha256'] != other['manifest_sha256']
    same = fingerprint(data)
    (data / 'gt/0.png').write_bytes(b'shorter')  # under the same name
    assert fingerprint(data)['sha256'] != same['sha256']


def test_git_state_of_what_is_no_repository(tmp_path):
    assert git_state(tmp_path) is None


def test_linked_folders_count_as_the_datasets_read_them(tmp_path):
    data = write_data(tmp_path / 'data')
    (tmp_path / 'linked').mkdir()
    (tmp_path / 'linked/scene').symlink_to(data / 'gt')
    assert fingerprint(tmp_path / 'linked')['files'] == 4
