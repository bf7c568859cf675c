"""tools/train.py and tools/test.py, run in this process."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from toy import cascade_model, config, plain_model, write_data

TOOLS = Path(__file__).parents[2] / 'tools'


def run(tool, monkeypatch, *arguments):
    spec = importlib.util.spec_from_file_location(f'tool_{tool}', TOOLS / f'{tool}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *map(str, arguments)])
    module.main()
    return module


@pytest.fixture
def configs(tmp_path):
    """Paths of a plain and a distilled config on the toy data."""
    data = write_data(tmp_path / 'data')
    paths = {}
    for name, model in (('plain', plain_model()), ('distilled', cascade_model())):
        settings = config(data, tmp_path / name, model)
        settings.pop('work_dir')
        settings.auto_scale_lr = {'enable': False, 'base_batch_size': 4}
        paths[name] = tmp_path / f'{name}.py'
        settings.dump(str(paths[name]))
    return paths


def newest(work_dir):
    return Path((work_dir / 'last_checkpoint').read_text().strip())


def test_train_then_test_distilled_and_plain_alike(configs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run('train', monkeypatch, configs['distilled'], '--cfg-options', 'train_cfg.max_iters=2')
    work_dir = tmp_path / 'work_dirs/distilled'  # by the config's name
    checkpoint = newest(work_dir)
    assert checkpoint.name == 'iter_2.pth'

    scores = {}
    for name, path in configs.items():
        out = tmp_path / f'report_{name}'
        run('test', monkeypatch, path, checkpoint, '--out', out, '--work-dir', tmp_path / 'test')
        assert '| test    |      4 |' in capsys.readouterr().out
        report = json.loads(out.with_suffix('.json').read_text())
        assert report['config'] == str(path)
        scores[name] = report['results'][0]['PSNR']
    # The student alone is tested, whichever config is at hand.
    assert scores['plain'] == scores['distilled']


def test_test_understands_official_dialects_and_refuses_partial_weights(
    configs, tmp_path, monkeypatch
):
    from mmagic.registry import MODELS

    weights = MODELS.build(plain_model()).generator.state_dict()
    official, partial = tmp_path / 'official.pth', tmp_path / 'partial.pth'
    torch.save({'params': weights}, official)
    run('test', monkeypatch, configs['plain'], official, '--work-dir', tmp_path / 'test')
    del weights['last.bias']
    torch.save({'params': weights}, partial)
    with pytest.raises(ValueError, match=r'last\.bias'):
        run('test', monkeypatch, configs['plain'], partial, '--work-dir', tmp_path / 'test')


def test_resume_goes_on_from_the_newest_checkpoint(configs, tmp_path, monkeypatch):
    arguments = [configs['plain'], '--work-dir', tmp_path / 'run']
    run('train', monkeypatch, *arguments, '--cfg-options', 'train_cfg.max_iters=2')
    first = torch.load(newest(tmp_path / 'run'), weights_only=True)
    run('train', monkeypatch, *arguments, '--resume')
    second = torch.load(newest(tmp_path / 'run'), weights_only=True)
    assert (first['meta']['iter'], second['meta']['iter']) == (2, 4)


def test_scaled_learning_rate_and_amp_reach_the_config(configs, monkeypatch):
    spec = importlib.util.spec_from_file_location('tool_train', TOOLS / 'train.py')
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)

    def load(*arguments):
        monkeypatch.setattr(sys, 'argv', ['train.py', str(configs['plain']), *arguments])
        return train.load_config(train.parse_args())

    assert load('--auto-scale-lr').auto_scale_lr.enable
    assert not load().auto_scale_lr.enable
    amp = load('--amp').optim_wrapper
    assert (amp.type, amp.loss_scale) == ('AmpOptimWrapper', 'dynamic')
    assert load().optim_wrapper.type == 'OptimWrapper'
    with pytest.raises(SystemExit, match='ApexOptimWrapper'):
        load('--amp', '--cfg-options', 'optim_wrapper.type=ApexOptimWrapper')
    configs['plain'].write_text(
        configs['plain'].read_text().replace('auto_scale_lr = ', 'unused = ')
    )
    with pytest.raises(SystemExit, match='auto_scale_lr'):
        load('--auto-scale-lr')
