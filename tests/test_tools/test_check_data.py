"""tools/check_data.py, run as a user runs it."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import ConfigDict
from toy import config, plain_model, write_data

from mmsamdistill.command_line import run

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('tool_check_data', TOOLS / 'check_data.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def world(tmp_path):
    """Toy data, and the path of a distilled config on them."""
    data = write_data(tmp_path / 'data')
    settings = config(data, tmp_path / 'work', plain_model())
    settings.train_dataloader.dataset = ConfigDict(
        {
            'type': 'RegionDataset',
            'dataset': settings.train_dataloader.dataset.to_dict(),
            'regions': str(data / 'regions'),
        }
    )
    settings.dump(str(tmp_path / 'config.py'))
    return data, tmp_path / 'config.py'


def call(tool, *arguments):
    return tool.main([str(each) for each in arguments])


def cells(output, split):
    """The cells of a split's row in the table, by column."""
    rows = [line.strip('| \n').split('|') for line in output.splitlines() if line.startswith('| ')]
    header, *rows = [[cell.strip() for cell in row] for row in rows]
    (row,) = [row for row in rows if row[0] == split]
    return dict(zip(header, row, strict=True))


def test_sound_data_exit_with_0_and_a_table_of_every_split(tool, world, capsys):
    _, path = world
    assert call(tool, path, '--full') == 0
    output = capsys.readouterr().out
    for split in ('train', 'val', 'test'):
        row = cells(output, split)
        assert (row['data'], row['samples'], row['images'], row['result']) == (
            'toy',
            '4',
            '8',
            'ok',
        )
    assert 'docs/data.md' not in output


def test_faults_exit_with_1_and_are_counted_and_named(tool, world, capsys):
    data, path = world
    (data / 'img/1.png').unlink()
    (data / 'regions/2.png').unlink()
    cv2.imwrite(str(data / 'gt/3.png'), np.zeros((12, 40, 3), np.uint8))
    assert call(tool, path) == 1
    output = capsys.readouterr().out
    row = cells(output, 'train')
    counts = {name: row[name] for name in ('missing', 'sizes', 'small', 'regions', 'result')}
    expected = {'missing': '1', 'sizes': '1', 'small': '1', 'regions': '2', 'result': 'FAILED'}
    assert counts == expected
    assert f'1 missing: {data}/img/1.png' in output
    # No regions are read in validation.
    assert cells(output, 'val')['regions'] == '0'


def test_one_split_and_options_of_the_config(tool, world, capsys):
    data, path = world
    empty = data / 'empty'
    options = ['--cfg-options', f'val_dataloader.dataset.data_root={empty}']
    assert call(tool, path, *options) == 1  # one of three that is not there is enough
    assert call(tool, path, '--split', 'train', *options) == 0
    capsys.readouterr()
    assert call(tool, path, '--split', 'val', *options) == 1
    output = capsys.readouterr().out
    assert f'there is no {empty}/gt (gt)' in output
    assert 'docs/data.md' in output
    assert '| train' not in output


def test_remarks_fail_only_if_asked_for(tool, world, capsys):
    data, path = world
    cv2.imwrite(str(data / 'gt/0.png'), np.zeros((32, 32), np.uint8))
    assert call(tool, path) == 0
    assert cells(capsys.readouterr().out, 'test')['remarks'] == '1'
    assert call(tool, path, '--strict') == 1
    assert cells(capsys.readouterr().out, 'test')['result'] == 'FAILED'


def test_configs_that_cannot_be_understood_exit_with_2(tool, world, tmp_path, capsys):
    (tmp_path / 'empty.py').write_text('model = dict()\n')
    (tmp_path / 'unknown.py').write_text("val_dataloader = dict(dataset=dict(type='Nothing'))\n")
    for name, text in (
        ('nowhere', 'nowhere.py'),
        ('empty', 'has no data for val'),
        ('unknown', 'Nothing'),
    ):
        with pytest.raises(SystemExit) as end:
            run(lambda name=name: call(tool, tmp_path / f'{name}.py', '--split', 'val'), failed=2)
        assert end.value.code == 2
        assert text in capsys.readouterr().err
