"""What all tools do alike: help at once, one line for an error, configs read or refused."""

import builtins
import runpy
import sys
from pathlib import Path

import pytest
import toy  # noqa: F401  (registers its networks)
from config_files import CONFIGS, FOLDERS, TWINS
from mmengine.config import Config

from mmsamdistill.command_line import (
    UsageError,
    check_launcher,
    check_output,
    describe,
    read_config,
    read_options,
    run,
)

TOOLS = sorted((Path(__file__).parents[1] / 'tools').glob('*.py'))
HEAVY = {'torch', 'numpy', 'cv2', 'mmengine', 'mmagic', 'mmsamdistill', 'matplotlib', 'tqdm'}


@pytest.mark.parametrize('tool', TOOLS, ids=lambda path: path.stem)
def test_help_imports_nothing_heavy(tool, monkeypatch, capsys):
    imported = []
    original = builtins.__import__

    def spy(name, *arguments, **options):
        imported.append(name.split('.')[0])
        return original(name, *arguments, **options)

    monkeypatch.setattr(sys, 'argv', [str(tool), '--help'])
    monkeypatch.setattr(builtins, '__import__', spy)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(tool), run_name='__main__')
    assert end.value.code == 0
    assert 'argparse' in imported
    assert not HEAVY & set(imported)
    assert '--debug' in capsys.readouterr().out


@pytest.mark.parametrize('tool', TOOLS, ids=lambda path: path.stem)
def test_every_tool_ends_by_the_one_mechanism(tool):
    assert tool.read_text().rstrip().endswith(('\n    run(main)', '\n    run(main, failed=2)'))


def fail(error):
    raise error


@pytest.mark.parametrize(
    ('error', 'code', 'text'),
    [
        (UsageError('config x.py: none'), 2, 'config x.py: none'),
        (ValueError('a.png is damaged'), 1, 'a.png is damaged'),
        (KeyError("no protocol 'x'"), 1, "no protocol 'x'"),
        (FileNotFoundError(2, 'No such file or directory', 'x.pth'), 1, 'x.pth'),
        (AssertionError(), 1, 'AssertionError: no message'),
    ],
)
def test_an_error_is_one_line_and_a_code(error, code, text, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [str(Path(__file__).with_name('train.py'))])
    with pytest.raises(SystemExit) as end:
        run(lambda: fail(error))
    printed = capsys.readouterr()
    assert end.value.code == code
    assert printed.out == ''
    assert printed.err.count('\n') == 1
    assert printed.err.startswith('train: ')
    assert text in printed.err


def test_debug_keeps_the_traceback_and_codes_pass(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['train.py', '--debug'])
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)
    with pytest.raises(SystemExit, match='3'):
        run(lambda: 3)
    monkeypatch.setattr(sys, 'argv', ['check_data.py'])
    with pytest.raises(SystemExit) as end:
        run(lambda: 1 // 0, failed=2)
    assert end.value.code == 2
    run(lambda: 0)
    run(lambda: None)


def test_foreign_errors_tell_their_kind_and_place(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['/elsewhere/train.py'])
    try:
        Config({}).missing  # noqa: B018
    except AttributeError as error:
        text = describe(error)
    assert text.startswith('AttributeError: ')
    assert 'config/config.py:' in text
    assert '--debug' in text


def test_what_was_being_built_is_told(monkeypatch):
    from mmagic.registry import MODELS

    monkeypatch.setattr(sys, 'argv', ['/elsewhere/train.py'])
    with pytest.raises(TypeError) as error:
        MODELS.build({'type': 'ToyNet', 'channels': 'many'})
    assert "while type='ToyNet', channels='many' was built" in describe(error.value)
    with pytest.raises(OSError, match='nowhere') as error:
        Path('/nowhere/a').write_text('')
    assert describe(error.value) == '/nowhere/a: No such file or directory'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'good.py').write_text("model = dict(type='A')\ntrain_cfg = dict(max_iters=1)\n")
    (tmp_path / 'empty.py').write_text('\n')
    (tmp_path / 'comment.py').write_text('# nothing\n')
    (tmp_path / 'broken.py').write_text('model = dict(\n')
    (tmp_path / 'raising.py').write_text('model = dict()\nmodel.type.name\n')
    (tmp_path / 'orphan.py').write_text("_base_ = 'gone.py'\n")
    (tmp_path / 'binary.py').write_bytes(b'\x00\xff\xfe' * 9)
    (tmp_path / 'broken.json').write_text('{"model": ')
    (tmp_path / 'notes.txt').write_text('model')
    return tmp_path


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('god.py', "there is no such file; did you mean 'good.py'"),
        ('nowhere/good.py', 'there is no folder'),
        ('.', 'is a folder: give a file in it, such as'),
        ('empty.py', 'is an empty file'),
        ('comment.py', 'is empty: it needs at least model'),
        ('broken.py', 'SyntaxError'),
        ('raising.py', 'in line 2 of'),
        ('orphan.py', 'gone.py'),
        ('binary.py', 'cannot be read'),
        ('broken.json', 'JSONDecodeError'),
        ('notes.txt', 'a config is a .py, .json or .yaml file'),
    ],
)
def test_configs_that_cannot_be_read_are_named(folder, name, text):
    with pytest.raises(UsageError) as error:
        read_config(folder / name)
    assert str(folder / name) in str(error.value)
    assert text in str(error.value)
    assert '\n' not in str(error.value)


def test_an_option_cannot_replace_a_dictionary_by_a_value(folder):
    with pytest.raises(UsageError, match=r'train_cfg=3: .* such as train_cfg\.max_iters'):
        read_config(folder / 'good.py', ['train_cfg=3'])
    assert read_config(folder / 'good.py', ['train_cfg=None']).train_cfg is None


def test_misspelt_keys_are_remarked_on(folder, capsys):
    (folder / 'typo.py').write_text('model = dict()\ntrian_cfg = dict()\nmy_width = 3\n')
    read_config(folder / 'typo.py')
    remark = capsys.readouterr().err
    assert "nothing reads the key 'trian_cfg'; did you mean 'train_cfg'?" in remark
    assert 'my_width' not in remark
    read_config(folder / 'good.py', ['trainer.max_iters=3'])
    assert "'trainer'" in capsys.readouterr().err
    read_config(folder / 'good.py', ['train_cfg.max_iters=3', 'work_dir=x'])
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('folder', FOLDERS)
def test_shipped_configs_are_not_remarked_on(folder, capsys):
    read_config(CONFIGS / next(name for name in TWINS if name.startswith(f'{folder}/')))
    assert capsys.readouterr().err == ''


def test_needed_keys_are_named(folder):
    (folder / 'typo.py').write_text('modle = dict()\n')
    with pytest.raises(UsageError, match=r"has no 'model'; did you mean 'modle'\?"):
        read_config(folder / 'typo.py')
    (folder / 'none.py').write_text('model = None\n')
    with pytest.raises(UsageError, match=r"none\.py has no 'model'"):
        read_config(folder / 'none.py')


def test_options_override(folder):
    cfg = read_config(folder / 'good.py', ['train_cfg.max_iters=7', 'model.sizes=[1,2]'])
    assert cfg.train_cfg.max_iters == 7
    assert cfg.model.sizes == [1, 2]
    options = ["train_cfg={'max_iters': 3, 'begin': (1, 2)}", "hooks=[{'type': 'A', 'n': 1}]"]
    cfg = read_config(folder / 'good.py', [*options, 'model.name={}_x{:04d}.png'])
    assert cfg.train_cfg == {'max_iters': 3, 'begin': (1, 2)}
    assert cfg.hooks == [{'type': 'A', 'n': 1}]
    assert cfg.model.name == '{}_x{:04d}.png'


@pytest.mark.parametrize(
    'text',
    [
        *('train_cfg.max_iters', '=3', '.a=3', 'a..b=3', 'a=[1,(2]', 'a=x(1,2)', 'a=dict(b=1,c=2)'),
        *("a={'b': 1", 'a={b: 1, c: 2}', 'a={b: 1}', f'a={"[" * 2000}{"]" * 2000}'),
    ],
)
def test_options_without_sense(text):
    with pytest.raises(UsageError, match='--cfg-options') as error:
        read_options([text])
    meant = any(start in text for start in ('{', 'dict('))
    assert ("{'max_norm': 1}" in str(error.value)) == meant


def test_what_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / 'file').touch()
    check_output('--out', tmp_path / 'new/folders/figure.PNG', ['.png'])
    check_output('--out', tmp_path / 'file')
    check_output('--out', tmp_path, folder=True)
    check_output('--out', 'name')
    assert [path.name for path in tmp_path.iterdir()] == ['file']
    for path, options, text in [
        (tmp_path / 'figure.xyz', {'suffixes': ['.png', '.pdf']}, 'one of .png, .pdf'),
        (tmp_path, {}, 'path of a file'),
        (tmp_path / 'file', {'folder': True}, 'path of a folder'),
        (tmp_path / 'file/below/a.json', {}, 'Not a directory'),
        (tmp_path / ('n' * 300), {}, 'File name too long'),
        ('/proc/none/a.json', {}, 'cannot be written'),
    ]:
        with pytest.raises(UsageError, match=f'--out {path}.*{text}'):
            check_output('--out', path, **options)


def test_an_option_below_a_number(folder):
    with pytest.raises(UsageError, match=r'--cfg-options do not fit .*good\.py'):
        read_config(folder / 'good.py', ['train_cfg.max_iters.x=7'])


def test_launchers_need_their_environment(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tools/train.py'])
    for name in ('RANK', 'WORLD_SIZE', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    check_launcher('none')
    with pytest.raises(UsageError, match=r'RANK.*torchrun --nproc_per_node=N tools/train\.py'):
        check_launcher('pytorch')
    with pytest.raises(UsageError, match='srun'):
        check_launcher('slurm')
    with pytest.raises(UsageError, match='mpirun'):
        check_launcher('mpi')
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR'):
        monkeypatch.setenv(name, '0')
    check_launcher('pytorch')


PURE = """
from mmagic.datasets.transforms import LoadImageFromFile
from mmagic.models.base_models import BaseEditModel
from mmagic.models.losses import PSNRLoss
from mmsamdistill.cascade import SAMDistillRestorer
from torch.optim import AdamW

model = dict(
    type=SAMDistillRestorer,
    restorer=dict(type=BaseEditModel, generator={'type': 'ToyNet'}, pixel_loss={'type': PSNRLoss}),
)
test_pipeline = [dict(type=LoadImageFromFile, key='img', channel_order='rgb')]
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type=AdamW, lr=1e-3))
"""


def test_pure_python_configs_are_as_good_as_text(tmp_path, capsys):
    from mmsamdistill.deploy.export import build_model, plain_config

    (tmp_path / 'pure.py').write_text(PURE)
    cfg = read_config(tmp_path / 'pure.py', ['optim_wrapper.optimizer.lr=1'])
    assert capsys.readouterr().err == ''
    assert cfg.model.type == 'SAMDistillRestorer'
    assert cfg.test_pipeline[0].type == 'LoadImageFromFile'
    assert cfg.optim_wrapper.optimizer.to_dict() == {'type': 'torch.optim.AdamW', 'lr': 1}
    plain = plain_config(cfg)
    compile(plain.pretty_text, 'config.py', 'exec')  # what a Runner writes into its work directory
    assert type(build_model(plain).generator).__name__ == 'ToyNet'
