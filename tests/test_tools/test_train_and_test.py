"""tools/train.py and tools/test.py, run in this process."""

import importlib.util
import json
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from filelock import FileLock
from toy import cascade_model, config, plain_model, write_data

from mmsamdistill.command_line import UsageError

pytestmark = pytest.mark.slow  # whole runs
TOOLS = Path(__file__).parents[2] / 'tools'


def load(tool, monkeypatch, *arguments):
    spec = importlib.util.spec_from_file_location(f'tool_{tool}', TOOLS / f'{tool}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *map(str, arguments)])
    return module


def run(tool, monkeypatch, *arguments):
    module = load(tool, monkeypatch, *arguments)
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
    # What a training would start from, or resume, is nobody's business here.
    trained = ('--cfg-options', 'load_from=nowhere.pth', 'resume=True')
    run('test', monkeypatch, configs['plain'], official, '--work-dir', tmp_path / 'test', *trained)
    del weights['last.bias']
    torch.save({'params': weights}, partial)
    with pytest.raises(ValueError, match=r'last\.bias'):
        run('test', monkeypatch, configs['plain'], partial, '--work-dir', tmp_path / 'test')


def test_averaged_weights_and_the_student_alone_are_tested(configs, tmp_path, monkeypatch):
    from mmagic.registry import MODELS

    averaged = MODELS.build(plain_model()).generator.state_dict()
    raw = {key: value + 1 for key, value in averaged.items()}
    scores = []
    for content in ({'params': averaged}, {'params': raw, 'params_ema': averaged}):
        torch.save(content, tmp_path / 'weights.pth')
        options = ('--out', tmp_path / 'report', '--work-dir', tmp_path / 'test')
        run('test', monkeypatch, configs['distilled'], tmp_path / 'weights.pth', *options)
        scores.append(json.loads((tmp_path / 'report.json').read_text())['results'][0]['PSNR'])
    assert scores[0] == scores[1]
    tool = load('test', monkeypatch, configs['distilled'], tmp_path / 'weights.pth')
    assert tool.load_config(tool.parse_args()).model.type == 'BaseEditModel'


def test_the_work_directory_is_the_commands_the_configs_or_of_its_name(
    configs, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    own = ('--cfg-options', f'work_dir={tmp_path / "own"}')
    for tool, more in (('train', ()), ('test', ('weights.pth',))):
        for options, expected in (
            ((), 'work_dirs/plain'),
            (own, str(tmp_path / 'own')),
            (('--work-dir', 'said', *own), 'said'),
        ):
            module = load(tool, monkeypatch, configs['plain'], *more, *options)
            assert module.load_config(module.parse_args()).work_dir == expected


def test_resume_goes_on_from_the_newest_checkpoint(configs, tmp_path, monkeypatch):
    arguments = [configs['plain'], '--work-dir', tmp_path / 'run']
    run('train', monkeypatch, *arguments, '--cfg-options', 'train_cfg.max_iters=2')
    first = torch.load(newest(tmp_path / 'run'), weights_only=True)
    run('train', monkeypatch, *arguments, '--resume')
    second = torch.load(newest(tmp_path / 'run'), weights_only=True)
    assert (first['meta']['iter'], second['meta']['iter']) == (2, 4)


@pytest.mark.parametrize(
    ('given', 'resume', 'start'),
    [((), False, 'start.pth'), (('--resume',), 'auto', 'start.pth'),
     (('--resume', 'iter_2.pth'), True, 'iter_2.pth')],
)  # fmt: skip
def test_resume_keeps_what_the_config_starts_from_unless_a_file_is_given(
    configs, monkeypatch, given, resume, start
):
    changed = ('--cfg-options', 'load_from=start.pth')
    train = load('train', monkeypatch, configs['plain'], *given, *changed)
    cfg = train.load_config(train.parse_args())
    assert (cfg.get('resume', False), cfg.load_from) == (resume, start)


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
    with pytest.raises(UsageError, match='ApexOptimWrapper'):
        load('--amp', '--cfg-options', 'optim_wrapper.type=ApexOptimWrapper')
    configs['plain'].write_text(configs['plain'].read_text().replace('auto_scale_lr', 'unused'))
    with pytest.raises(UsageError, match='auto_scale_lr'):
        load('--auto-scale-lr')


@pytest.mark.parametrize(
    ('option', 'text'),
    [
        ('default_hooks.chekpoint.interval=1', r"default_hooks\.chekpoint .* 'checkpoint'\?"),
        ('env_cfg.cudnn_benchmak=True', r"env_cfg\.cudnn_benchmak; .* 'cudnn_benchmark'\?"),
        ('train_cfg.val_interval=0', r'train_cfg\.val_interval=0 .* above 0'),
        ('train_cfg.val_interval=1.5', r'train_cfg\.val_interval=1\.5'),
        ('randomness.seed=-1', r'randomness\.seed=-1'),
        ('randomness.seed=4294967296', r'randomness\.seed=4294967296'),
        ('randomness.seed=abc', r"randomness\.seed='abc'"),
        (
            'default_hooks.checkpoint.intervall=1',
            r"default_hooks\.checkpoint\.intervall; .*'interval",
        ),
        ('train_cfg.type=EpochBasedTrainLoop', r'counts epochs, and the InfiniteSampler .* never'),
    ],
)
def test_settings_that_would_not_do_what_they_say(configs, monkeypatch, option, text):
    train = load('train', monkeypatch, configs['plain'], '--cfg-options', option)
    with pytest.raises(UsageError, match=text):
        train.load_config(train.parse_args())


@pytest.mark.parametrize('own', [(), ('default_hooks.finite.type=FiniteHook',)])
def test_every_training_is_recorded_guarded_and_can_be_interrupted(
    configs, tmp_path, monkeypatch, own
):
    arguments = [configs['plain'], '--work-dir', tmp_path / 'run', '--cfg-options', *own]
    train = load('train', monkeypatch, *(arguments if own else arguments[:3]))
    monkeypatch.setattr('mmsamdistill.engine.InterruptionHook.listen', lambda hook: None)
    runner = train.build_runner(train.load_config(train.parse_args()))
    kinds = [type(hook).__name__ for hook in runner.hooks]
    for name in ('RunRecordHook', 'FiniteHook', 'ValueRangeHook', 'InterruptionHook'):
        assert kinds.count(name) == 1, name


def test_what_would_train_something_wrong_ends_the_training(configs, tmp_path, monkeypatch):
    arguments = [configs['plain'], '--work-dir', tmp_path / 'run', '--cfg-options']
    with pytest.raises(ValueError, match="write rule='greater'"):
        run('train', monkeypatch, *arguments, 'default_hooks.checkpoint.save_best=auto')
    order = 'train_dataloader.dataset.pipeline.0.channel_order=bgr'
    with pytest.raises(ValueError, match='learn to exchange the channels'):
        run('train', monkeypatch, *arguments, order)
    # A training that ends by an error leaves its handlers of signals behind.
    monkeypatch.setattr('mmsamdistill.engine.InterruptionHook.listen', lambda hook: None)
    with pytest.raises(ValueError, match=r'values up to .* white is 1:'):
        run('train', monkeypatch, *arguments, 'model.data_preprocessor.std=[1.5,1.5,1.5]')


@pytest.mark.parametrize(
    ('options', 'fixed'),
    [
        (['model.stage=student'], 'SPF and teacher'),
        (['model.stage=student', 'model.teacher_input=degraded'], 'SPF and teacher'),
        (['model.stage=teacher'], 'student'),
        (['model.stage=student', 'load_from=taught.pth'], None),
        (['model.stage=teacher', 'model.teacher_input=degraded'], None),
        (['model.stage=student', 'model.init_cfg.type=Pretrained'], None),
        (['model.stage=joint'], None),
    ],
)
def test_a_stage_keeps_nothing_fixed_that_nobody_trained(
    configs, tmp_path, monkeypatch, options, fixed
):
    arguments = ['--work-dir', tmp_path / 'run', '--cfg-options', *options]
    train = load('train', monkeypatch, configs['distilled'], *arguments)
    if fixed is None:
        assert train.load_config(train.parse_args()).model.type == 'SAMDistillRestorer'
        return
    with pytest.raises(UsageError, match=f'keeps {fixed} as loaded, and nothing is loaded'):
        train.load_config(train.parse_args())


def test_a_stage_that_was_begun_goes_on_without_load_from(configs, tmp_path, monkeypatch):
    arguments = ['--resume', '--work-dir', tmp_path, '--cfg-options', 'model.stage=student']
    train = load('train', monkeypatch, configs['distilled'], *arguments)
    with pytest.raises(UsageError, match='nothing is loaded'):
        train.load_config(train.parse_args())
    (tmp_path / 'iter_1.pth').touch()
    assert train.load_config(train.parse_args()).resume == 'auto'


def several_sets(configs, tmp_path, names, data=None):
    """A config of several test sets, measured by our metric, and weights for it."""
    from mmagic.registry import MODELS
    from mmengine.config import Config

    cfg = Config.fromfile(configs['plain'])
    loaders, evaluators = [], []
    for index, name in enumerate(names):
        loader = cfg.test_dataloader.to_dict()
        loader['dataset']['metainfo'] = {'dataset_type': name, 'task_name': 'denoising'}
        loader['dataset']['data_root'] = str(write_data(tmp_path / name, index + 2))
        loaders.append(loader)
        metric = {'type': 'RestorationMetric', 'protocol': 'denoise_rgb', 'prefix': name}
        evaluators.append([metric])
    cfg.test_dataloader, cfg.test_evaluator = loaders, evaluators
    cfg.dump(str(tmp_path / 'several.py'))
    torch.manual_seed(0)
    torch.save(MODELS.build(plain_model()).generator.state_dict(), tmp_path / 'net.pth')
    return tmp_path / 'several.py', tmp_path / 'net.pth'


def test_all_test_sets_in_one_table_with_every_image(configs, tmp_path, monkeypatch, capsys):
    arguments = several_sets(configs, tmp_path, ['first', 'second'])
    out = tmp_path / 'report'
    run('test', monkeypatch, *arguments, '--out', out, '--work-dir', tmp_path / 'test')
    shown = capsys.readouterr()
    assert 'second: 100%' in shown.err  # progress over both: 2 + 3 batches
    assert '5/5' in shown.err
    report = json.loads(out.with_suffix('.json').read_text())
    assert [(row['dataset'], row['images']) for row in report['results']] == [
        ('first', 2),
        ('second', 3),
    ]
    for row in report['results']:
        assert row['protocol'].startswith('denoise_rgb')
        images = report['per_image'][row['dataset']]
        assert [each['name'] for each in images] == [str(n) for n in range(row['images'])]
        for metric in ('PSNR', 'SSIM'):
            mean = sum(each[metric] for each in images) / len(images)
            assert mean == pytest.approx(row[metric])
    assert 'skipped' not in report
    for suffix in ('.md', '.csv'):
        assert 'second' in out.with_suffix(suffix).read_text()
    assert out.with_suffix('.md').read_text().strip() in shown.out


def test_missing_sets_stop_the_test_before_it_starts_or_are_skipped(
    configs, tmp_path, monkeypatch, capsys
):
    import shutil

    arguments = several_sets(configs, tmp_path, ['first', 'gone'])
    shutil.rmtree(tmp_path / 'gone')
    arguments = [*arguments, '--work-dir', tmp_path / 'test', '--out', tmp_path / 'report']
    with pytest.raises(FileNotFoundError, match=f'gone needs {tmp_path}/gone/gt'):
        run('test', monkeypatch, *arguments)
    assert not (tmp_path / 'test').exists()  # no model was built, nothing was tested

    run('test', monkeypatch, *arguments, '--skip-missing')
    assert 'Skipped, because it is missing: gone needs' in capsys.readouterr().out
    report = json.loads((tmp_path / 'report.json').read_text())
    assert [row['dataset'] for row in report['results']] == ['first']
    assert report['skipped'][0] == f'gone needs {tmp_path}/gone/gt (gt)'
    assert 'gone needs' in (tmp_path / 'report.md').read_text()


def test_damaged_images_are_named(configs, tmp_path, monkeypatch):
    arguments = several_sets(configs, tmp_path, ['first', 'second'])
    path = tmp_path / 'second/img/1.png'
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    arguments = [*arguments, '--work-dir', tmp_path / 'test']
    with pytest.raises(ValueError, match=r'second/img/1\.png \(it ends too early\)'):
        run('test', monkeypatch, *arguments)
    middle = bytearray(whole)
    middle[len(whole) // 2] ^= 0xFF
    path.write_bytes(middle)
    with pytest.raises(ValueError, match=r'second/img/1\.png'):
        run('test', monkeypatch, *arguments)


def test_sets_that_would_overwrite_each_other_are_refused(configs, tmp_path, monkeypatch):
    config_path, weights = several_sets(configs, tmp_path, ['first', 'second'])
    config_path.write_text(config_path.read_text().replace("prefix='second'", "prefix='first'"))
    with pytest.raises(ValueError, match="prefix 'first'"):
        run('test', monkeypatch, config_path, weights, '--work-dir', tmp_path / 'test')


def test_mean_iou_beside_psnr(configs, tmp_path, monkeypatch, capsys):
    import cv2
    import numpy as np
    from mmengine.config import Config

    config_path, weights = several_sets(configs, tmp_path, ['first'])
    for index in range(2):
        labels = np.random.default_rng(index).choice([7, 26, 0], (32, 32)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f'{index}_gtFine_labelIds.png'), labels)
    cfg = Config.fromfile(config_path)
    cfg.test_evaluator[0].append(
        {
            'type': 'SegmentationMetric',
            'prefix': 'first',
            'label_root': str(tmp_path),
            'segmenter': {
                'type': 'TorchvisionSegmenter',
                'name': 'lraspp_mobilenet_v3_large',
                'weights': 'random',
            },
        }
    )
    cfg.dump(str(config_path))
    out = tmp_path / 'report'
    run('test', monkeypatch, config_path, weights, '--work-dir', tmp_path / 'test', '--out', out)
    report = json.loads(out.with_suffix('.json').read_text())
    assert {'PSNR', 'SSIM', 'mIoU', 'mIoU_degraded', 'mIoU_clean'} <= report['results'][0].keys()
    classes = report['per_class']['first']
    assert len(classes) == 19
    assert classes['road']['clean'] is not None
    assert {'name', 'PSNR', 'SSIM', 'mIoU'} <= report['per_image']['first'][0].keys()
    assert 'lraspp' in report['results'][0]['protocol']
    assert 'mIoU' in capsys.readouterr().out


def test_what_cannot_be_measured_fails_the_test_by_name(configs, tmp_path, monkeypatch, capsys):
    import cv2
    import numpy as np

    arguments = several_sets(configs, tmp_path, ['first', 'second'])
    for folder in ('gt', 'img'):
        cv2.imwrite(str(tmp_path / 'second' / folder / '1.png'), np.zeros((6, 32, 3), np.uint8))
    out = tmp_path / 'report'
    module = load('test', monkeypatch, *arguments, '--out', out, '--work-dir', tmp_path / 'test')
    assert module.main() == 1
    printed = capsys.readouterr().out
    assert 'FAILED: second: ' in printed
    assert 'second/img/1.png: SSIM: an image of (6, 32) pixels is smaller' in printed
    assert 'second/SSIM is no number' in printed
    assert 'first: ' not in printed.partition('FAILED')[2]
    report = json.loads(out.with_suffix('.json').read_text())
    assert len(report['failures']) == 2
    assert [row['images'] for row in report['results']] == [2, 3]
    assert len(report['per_image']['second']) == 3


def test_two_trainings_do_not_share_a_work_directory(configs, tmp_path, monkeypatch):
    arguments = (configs['plain'], '--work-dir', tmp_path / 'run')
    options = ('--cfg-options', 'train_cfg.max_iters=1')
    first = load('train', monkeypatch, *arguments, *options)
    with first.work_dir_held(first.load_config(first.parse_args())):
        with pytest.raises(UsageError, match=r'another training writes into .*run'):
            run('train', monkeypatch, *arguments, *options)
        assert {path.name for path in (tmp_path / 'run').iterdir()} == {'.training.lock'}
        # Of a distributed run the first process holds it for all.
        monkeypatch.setenv('RANK', '1')
        second = load('train', monkeypatch, *arguments, *options)
        cfg = second.load_config(second.parse_args())
        cfg.launcher = 'pytorch'
        with second.work_dir_held(cfg):
            pass
        # Where there are no locks, trainings go on without.
        monkeypatch.setattr(FileLock, '_acquire', mock.Mock(side_effect=NotImplementedError))
        with first.work_dir_held(first.load_config(first.parse_args())):
            pass
        monkeypatch.undo()
    run('train', monkeypatch, *arguments, *options)
    assert newest(tmp_path / 'run').name == 'iter_1.pth'
