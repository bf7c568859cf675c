"""Every command and every piece of Python in the documents is one that works."""

import argparse
import importlib.util
import re
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest
from config_files import build
from mmengine.config import Config

from mmsamdistill_command import choose

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        'README.md',
        'CONTRIBUTING.md',
        'docs/*.md',
        'benchmarks/README.md',
        'configs/*/README.md',
    )
    for path in ROOT.glob(pattern)
)
TOOLS = {path.stem: path for path in sorted((ROOT / 'tools').glob('*.py'))}
FOLDERS = ('configs/', 'benchmarks/', 'demo/', 'examples/', 'tests/', 'tools/', 'requirements/')
SCRIPT = re.compile(r'(?<![\w/])((?:tools|benchmarks|demo|tests)/[a-z_][\w/]*\.(?:py|sh))\b(.*)')
# What the shell scripts hand to which tool.
SHELL = {
    'dist_train.sh': ('train', lambda config, gpus, *rest: (config, *rest)),
    'dist_test.sh': ('test', lambda config, checkpoint, gpus, *rest: (config, checkpoint, *rest)),
    'slurm_train.sh': (
        'train',
        lambda partition, job, config, folder, *rest: (config, '--work-dir', folder, *rest),
    ),
    'slurm_test.sh': (
        'test',
        lambda partition, job, config, checkpoint, *rest: (config, checkpoint, *rest),
    ),
}


def read(document):
    return (ROOT / document).read_text()


def fences(document, *languages):
    found = re.findall(r'^```(\w+)\n(.*?)^```', read(document), re.M | re.S)
    return [text for language, text in found if language in languages]


def lines_of(document):
    """Shell lines of code blocks, and what stands in running text as code."""
    prose = re.sub(r'^```.*?^```', '', read(document), flags=re.M | re.S)
    blocks = [text.replace('\\\n', ' ') for text in fences(document, 'bash', 'shell')]
    inline = [text.replace('\n', ' ') for text in re.findall(r'`([^`]+)`', prose)]
    for text in [*blocks, *inline]:
        for line in text.splitlines():
            yield from re.split(r'&&|;', re.sub(r'(^|\s)#.*', '', line))


def arguments_of(text):
    """Arguments as one would type them: brackets mark what may be left out, bars a choice."""
    words = shlex.split(re.sub(r'[][]|\.\.\.', ' ', text))
    return [re.sub(r'^([\w-]+)(\|[\w-]+)+$', r'\1', word) for word in words]


def commands(document):
    """Script and arguments of every line that runs one of ours or tells an option of one."""
    for line in lines_of(document):
        ours = re.match(r'\s*mmsamdistill ([a-z][\w-]*)(.*)', line)
        found = SCRIPT.search(line)
        if ours:
            yield TOOLS[choose(ours[1], TOOLS).stem], arguments_of(ours[2])
        elif found and 'pytest' not in line and (found[2].strip() or found[0] != line):
            yield ROOT / found[1], arguments_of(found[2])


class ParsedError(Exception):
    """The arguments were understood, and nothing else is to happen."""


@cache
def module_of(path):
    spec = importlib.util.spec_from_file_location(f'documented_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


def parse(script, arguments, monkeypatch):
    """Let a script's own parser look at the arguments."""
    if script.suffix == '.sh':
        tool, hand_over = SHELL[script.name]
        parse(TOOLS[tool], hand_over(*arguments), monkeypatch)
        return
    module = module_of(script)
    whole = argparse.ArgumentParser.parse_args

    def stop(parser, args=None, namespace=None):
        # An option that is told by itself, in the text, has no other arguments.
        if arguments and arguments[0].startswith('-'):
            known = parser._option_string_actions
            strangers = [word for word in arguments if word[0] == '-' and word not in known]
            assert not strangers, f'{script.name} has no {strangers}'
        else:
            whole(parser, args, namespace)
        raise ParsedError

    with monkeypatch.context() as patch:
        patch.setattr(sys, 'argv', [str(script), *arguments])
        patch.setattr(argparse.ArgumentParser, 'parse_args', stop)
        with pytest.raises(ParsedError):
            getattr(module, 'parse_args', getattr(module, 'main', None))()


@pytest.mark.parametrize('document', DOCUMENTS)
def test_commands_parse_and_their_files_exist(document, monkeypatch, capsys):
    for script, arguments in commands(document):
        assert script.exists(), f'{document}: {script}'
        try:
            parse(script, arguments, monkeypatch)
        except SystemExit:
            pytest.fail(f'{document}: {script.name} {arguments}: {capsys.readouterr().err}')
        paths = [part for word in arguments for part in re.split('[=,]', word)]
        for path in (path for path in paths if path.startswith(FOLDERS) and '$' not in path):
            found = list(ROOT.glob(path))
            assert found or '--out' in arguments, f'{document}: there is no {path}'


def test_every_tool_is_in_the_documents():
    named = {script.name for document in DOCUMENTS for script, _ in commands(document)}
    assert {path.name for path in (ROOT / 'tools').glob('*.??')} <= named


@pytest.mark.parametrize('document', DOCUMENTS)
def test_targets_and_extras_exist(document):
    makefile = (ROOT / 'Makefile').read_text()
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    extras = set(project['optional-dependencies'])
    for line in lines_of(document):
        made = re.match(r'\s*make ([a-z]+)((?: [A-Z_]+=\S+)*)', line)
        if made:
            assert f'\n{made[1]}:' in makefile, f'{document}: {line}'
            for variable in re.findall(r'([A-Z_]+)=', made[2]):
                assert re.search(rf'^{variable} \?=', makefile, re.M), f'{document}: {line}'
        asked = re.search(r"(?:^|[ '])(?:\.|mmsamdistill)\[([\w, ]+)\]", line)
        if asked:
            names = {name.strip() for name in asked[1].split(',')}
            assert names <= extras, f'{document}: {line}'


def configs_of(document):
    """Whole configs: a block with `_base_`, and each later one that leaves it out, added to it."""
    whole = None
    for text in fences(document, 'python'):
        if '_base_ =' in text:
            whole = text
        elif whole and 'import ' not in text:
            whole += text
        else:
            continue
        yield whole


@pytest.mark.parametrize('document', DOCUMENTS)
def test_python_compiles_and_configs_build(document, tmp_path, monkeypatch):
    # A module that a config imports lies beside it, under the name that the text gives it.
    monkeypatch.syspath_prepend(tmp_path)
    named = re.findall(r'`(\w+\.py)`[^`]*\n\n```python\n(.*?)^```', read(document), re.M | re.S)
    for name, text in named:
        Path(tmp_path, name).write_text(text)
    for text in fences(document, 'python'):
        # MMEngine's references to the base are no Python.
        compile(re.sub(r'\{\{(.*?)\}\}', r'\1', text), document, 'exec')
    for number, text in enumerate(configs_of(document)):
        path = tmp_path / f'{number}.py'
        path.write_text(text)
        cfg = Config.fromfile(path)
        assert 'model' not in cfg or build(cfg.model) is not None
