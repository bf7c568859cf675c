"""What all tools do at the command line: read a config, and end in one line when they fail.

A tool parses its arguments before it imports anything heavy, and ends with ``run(main)``.
"""

import ast
import difflib
import importlib.util
import inspect
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.config.lazy import LazyAttr, LazyObject

# Read by MMEngine, MIM or our tools, besides the Runner's own arguments.
_OTHER_KEYS = ('custom_imports', 'runner_type', 'test_pipeline', 'val_pipeline', 'train_pipeline')
# What each launcher leaves in the environment of the processes that it starts.
_LAUNCHERS = {
    'pytorch': (('RANK', 'WORLD_SIZE', 'MASTER_ADDR'), 'torchrun --nproc_per_node=N {tool} ...'),
    'slurm': (('SLURM_PROCID', 'SLURM_NTASKS'), 'srun python {tool} ...'),
    'mpi': (('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'), 'mpirun -np N python {tool} ...'),
}

# {'a': 1} and {a: 1}, in lists too, and dict(a=1); not the {:04d} and {} of file names.
_DICTIONARY = re.compile(r"""\{\s*['"]|\bdict\(|^\s*\{\s*\w+\s*:.*\}\s*$""")


class UsageError(ValueError):
    """What the user wrote cannot be meant: the message says what, where, and what could be."""


def run(main: Callable[[], int | None], failed: int = 1) -> None:
    """Run a tool: an error becomes one line on the error stream, unless ``--debug`` was given.

    ``failed`` is the exit code then; for wrong usage it is always 2.
    """
    try:
        code = main()
    except KeyboardInterrupt:
        raise _end('interrupted', 130) from None
    except Exception as error:
        if '--debug' in sys.argv:
            raise
        raise _end(describe(error), 2 if isinstance(error, UsageError) else failed) from None
    if code:
        sys.exit(code)


def describe(error: Exception) -> str:
    """Say an error in one line: our own messages as they are, others with their kind and place."""
    # The key alone, and not its representation with quotes and escapes.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    ours = (str(Path(__file__).parent), str(Path(sys.argv[0]).resolve().parent))
    if text and frame and os.path.realpath(frame[0].filename).startswith(ours):
        return text
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f'{error.filename}: {error.strerror}'
    where = f'{"/".join(Path(frame[0].filename).parts[-2:])}:{frame[0].lineno}, ' if frame else ''
    if owner := raised_in(error):
        where = f'in {owner}, {where}'
    where = _being_built(error) + where
    return f'{type(error).__name__}: {text or "no message"} ({where}--debug shows the way there)'


def raised_in(error: Exception) -> str:
    """Type of the object whose method raised an error; empty if none did."""
    innermost = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1:]
    inside = innermost and 'self' in innermost[0].f_locals
    return type(innermost[0].f_locals['self']).__name__ if inside else ''


def _being_built(error: Exception) -> str:
    """What MMEngine was building from a config: the arguments are what the user can mend."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    known = [each.f_locals for each in frames if each.f_code.co_name == 'build_from_cfg']
    if not known or 'obj_type' not in known[-1]:
        return ''
    given = [
        f'{name}={value!r:.60}'
        for name, value in known[-1]['args'].items()
        if isinstance(value, str | int | float | list | tuple | dict | None)
    ]
    what = ', '.join([f'type={known[-1]["obj_type"]!r}', *given[:8]])
    return f'while {what} was built, '


def read_config(
    path: str | Path, options: Sequence[str] | None = None, needs: Sequence[str] = ('model',)
) -> Config:
    """Read a config and merge ``--cfg-options`` into it.

    Top-level keys that look like a misspelt one are remarked on, on the error stream: MMEngine
    reads what it knows and ignores the rest.
    """
    path = Path(path)
    given = read_options(options)
    _check_file(path)
    try:
        cfg = _with_names(Config.fromfile(path))
    except Exception as error:
        raise UsageError(f'config {path} cannot be read: {_cause(error)}') from error
    if not len(cfg):
        raise UsageError(f'config {path} is empty: it needs at least {", ".join(needs)}')
    scope = cfg.get('default_scope')
    if scope is not None and importlib.util.find_spec(str(scope)) is None:
        raise UsageError(f"config {path}: there is no package default_scope={scope!r}; 'mmagic' is")
    # Costs a second, which only those pay who have read a config.
    from mmengine.runner import Runner

    known = {*inspect.signature(Runner).parameters, *_OTHER_KEYS}
    new = {key.split('.')[0] for key in given} - set(cfg)
    for key, value in given.items():
        there = _value_at(cfg._cfg_dict, key)
        if isinstance(there, dict) and not isinstance(value, dict | list | tuple | None):
            inside = f', such as {key}.{next(iter(there))}' if there else ''
            raise UsageError(
                f'--cfg-options {key}={value}: {key} is a dictionary in {path}; give what is in '
                f'it{inside}'
            )
    try:
        cfg.merge_from_dict(given)
    except Exception as error:
        raise UsageError(f'--cfg-options do not fit {path}: {_cause(error)}') from error
    for key in (key for key in cfg if key not in known):
        close = difflib.get_close_matches(key, known, 1, 0.86)
        if close or key in new:
            hint = f'; did you mean {close[0]!r}?' if close else ''
            print(f'remark: {path}: nothing reads the key {key!r}{hint}', file=sys.stderr)
    for key in needs:
        if cfg.get(key) is None:
            raise UsageError(f'config {path} has no {key!r}{did_you_mean(key, cfg)}')
    return cfg


def read_options(texts: Sequence[str] | None) -> dict[str, Any]:
    """Understand ``KEY=VALUE`` texts as MMEngine's ``DictAction`` does, and dictionaries besides.

    >>> read_options(["optim_wrapper.clip_grad={'max_norm': 1}"])
    {'optim_wrapper.clip_grad': {'max_norm': 1}}
    """
    options: dict[str, Any] = {}
    for text in texts or ():
        key, separator, value = text.partition('=')
        if not separator or not all(part.strip() for part in key.split('.')):
            raise UsageError(
                f'--cfg-options {text!r} is not KEY=VALUE, such as train_cfg.max_iters=1000'
            )
        # MMEngine cuts a dictionary into texts at its commas, or follows it without end.
        as_python = _DICTIONARY.search(value) is not None
        parse = ast.literal_eval if as_python else DictAction._parse_iterable
        try:
            options[key] = parse(value)
        except (AssertionError, SyntaxError, ValueError, RecursionError) as error:
            problem = "write a dictionary as {'max_norm': 1}" if as_python else f'{error}'
            raise UsageError(f'--cfg-options {text!r} cannot be read: {problem}') from error
    return options


def check_output(
    option: str, path: str | Path, suffixes: Sequence[str] = (), folder: bool = False
) -> None:
    """Require that a file, or a folder, can be written: called before the work is done."""
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise UsageError(f'{option} {path}: its suffix must be one of {", ".join(suffixes)}')
    parent = path if folder else path.parent
    try:
        if path.exists() and path.is_dir() != folder:
            kind = 'folder, not a file' if folder else 'file, not a folder'
            raise UsageError(f'{option} {path}: give the path of a {kind}')
        # What is missing will be made; whether it can be, only an attempt tells.
        around = next(each for each in (parent, *parent.parents) if each.exists())
        with tempfile.TemporaryFile(dir=around):
            pass
    except OSError as error:
        raise UsageError(f'{option} {path} cannot be written: {error.strerror}') from error


def check_launcher(launcher: str) -> None:
    """Require that the processes of a distributed run were started by their launcher."""
    variables, command = _LAUNCHERS.get(launcher, ((), ''))
    missing = [name for name in variables if name not in os.environ]
    if missing:
        raise UsageError(
            f'--launcher {launcher}: {", ".join(missing)} not set in the environment, so no such '
            f'launcher started this process. Start it by: {command.format(tool=sys.argv[0])} '
            f'--launcher {launcher}; or leave --launcher out to use one process'
        )


def is_first_process(launcher: str) -> bool:
    """Whether this process is the one that writes, before the processes have met."""
    variables, _ = _LAUNCHERS.get(launcher, ((), ''))
    return not variables or int(os.environ[variables[0]]) == 0


def _with_names(cfg: Config) -> Config:
    """Write a pure-Python config's classes as the names that a text config has.

    Everything that looks into a config (region pipelines, export, data checks) compares names.
    """
    if not getattr(cfg, '_imported_names', None):
        return cfg
    return Config(_named(cfg._to_lazy_dict()), filename=cfg.filename)


def _named(value: Any, key: str = '') -> Any:
    if isinstance(value, dict):
        return {name: _named(each, name) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_named(each) for each in value)
    if key != 'type' or not isinstance(value, (LazyObject, LazyAttr)):
        return value
    # Registered under their own names; others are found by their whole path.
    package, name = value.module.split('.')[0], str(value)
    known = package in ('mmagic', 'mmsamdistill') and name[:1].isupper()
    return name if known else f'{value.module}.{name}'


def _end(text: str, code: int) -> SystemExit:
    print(f'{Path(sys.argv[0]).stem}: {text}', file=sys.stderr)
    end = SystemExit(text)
    end.code = code
    return end


def _check_file(path: Path) -> None:
    if path.is_dir():
        inside = sorted(each.name for each in path.glob('*.py'))[:3]
        example = f', such as {path / inside[0]}' if inside else ''
        raise UsageError(f'config {path} is a folder: give a file in it{example}')
    if not path.exists():
        names = [each.name for each in path.parent.glob('*.py')] if path.parent.is_dir() else []
        raise UsageError(
            f'config {path}: there is no such file{did_you_mean(path.name, names)}'
            + ('' if path.parent.is_dir() else f'; there is no folder {path.parent} either')
        )
    if path.suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise UsageError(f'config {path}: a config is a .py, .json or .yaml file')
    try:
        empty = not path.read_bytes().strip()
    except OSError as error:
        raise UsageError(f'config {path} cannot be read: {error.strerror}') from error
    if empty:
        raise UsageError(f'config {path} is an empty file')


def _value_at(cfg: Any, key: str) -> Any:
    for part in key.split('.'):
        cfg = cfg.get(part) if isinstance(cfg, dict) else None
    return cfg


def did_you_mean(name: str, others: Sequence[str]) -> str:
    """End a message by the name that was probably meant; empty if none is like it."""
    close = difflib.get_close_matches(name, list(others), 1, 0.6)
    return f'; did you mean {close[0]!r}?' if close else ''


def _cause(error: Exception) -> str:
    """One line of an error whose place is the user's config, not our code."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Where a config is executed, the innermost line of it is what the user can mend.
    frames = traceback.extract_tb(error.__traceback__)
    places = [each for each in frames if each.name == '<module>' and each.filename.endswith('.py')]
    where = f' in line {places[-1].lineno} of {places[-1].filename}' if places else ''
    return f'{type(error).__name__}{where}: {" ".join(lines) or "no message"}'
