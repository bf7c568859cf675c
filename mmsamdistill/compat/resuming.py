"""Runs that start from complete weights, and go on from the newest whole checkpoint."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from torch import nn

from mmsamdistill.compat.import_hook import Original, in_place_of
from mmsamdistill.compat.saving import checkpoint_pattern
from mmsamdistill.files import write_atomically
from mmsamdistill.weights.dialects import (
    find_state_dict,
    first_not_finite,
    is_cascade,
    require_same_keys,
    to_plain_state_dict,
)
from mmsamdistill.weights.reading import CheckpointError

RUNNER = 'mmengine.runner.runner'
DEFAULT_NAMES = ('iter_{}.pth', 'epoch_{}.pth')
_HINT = (
    '\nonly a checkpoint of the same model can be resumed; to start from its weights, give it as '
    'load_from instead'
)


@in_place_of(RUNNER, 'Runner.load_or_resume')
def _load_or_resume(_: Original, runner: Any) -> None:
    """Resume from the newest whole checkpoint, else start from ``load_from``."""
    # MMEngine (to 0.10.7) resumes from the file that last_checkpoint names, torn or not.
    # resume='auto' differs from resume=True in that load_from is what a run starts from while there
    # is nothing to resume, and not the file to resume.
    if runner._has_loaded:
        return
    if runner._resume and (runner._load_from is None or runner._resume == 'auto'):
        if _resume_newest(runner):
            return
        runner._resume = False
    if runner._resume:
        runner.resume(runner._load_from)
    elif runner._load_from is not None:
        runner.load_checkpoint(runner._load_from)


def _resume_newest(runner: Any) -> bool:
    """Resume from the newest checkpoint that is whole; False if there is none at all."""
    skipped = []
    for path in newest_first(runner):
        try:
            runner.resume(str(path))
        except (CheckpointError, FileNotFoundError) as error:
            runner.logger.warning(f'not resumed from {path}: {error}')
            skipped.append(f'  {error}')
        else:
            runner.logger.info(f'Resumed from the newest whole checkpoint {path}.')
            # A kill can come between a checkpoint and its note, which the run, if it was at its
            # end, would never write again.
            if is_main_process():
                write_atomically(Path(runner.work_dir, 'last_checkpoint'), str(path).encode())
            return True
    if skipped:
        raise CheckpointError(
            f'--resume: no checkpoint in {runner.work_dir} is whole:\n'
            + '\n'.join(skipped)
            + '\nremove them, or choose another work_dir, to start anew'
        )
    runner.logger.info(f'No checkpoint in {runner.work_dir}: the run starts.')
    return False


def newest_first(runner: Any) -> list[Path]:
    """The run's checkpoints in the order in which to try them."""
    # First what was written after the one that last_checkpoint names (a kill can come between the
    # two), then that one, then the older ones. Files of a longer run that lie there from before,
    # with higher numbers but older, come last.
    note = Path(runner.work_dir, 'last_checkpoint')
    last = _named_in(note)
    patterns, folders = _names_and_folders(runner)
    if last is not None:
        folders.add(last.parent)
    found = {path.resolve(): step for path, step in _files(folders, patterns)}
    if last is None:
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, found[path]), reverse=True)
    moved = Path(runner.work_dir, last.name)
    if not os.path.exists(last) and os.path.exists(moved):
        last = moved  # with its folder
    last = last.resolve()
    reached = found.pop(last, _step_of(last, patterns))
    written = note.stat().st_mtime_ns
    by_step = sorted(found, key=found.__getitem__, reverse=True)
    beyond = [path for path in by_step if found[path] > reached]
    later = [path for path in beyond if path.stat().st_mtime_ns >= written]
    older = [path for path in by_step if found[path] <= reached]
    return [*later, last, *older, *(path for path in beyond if path not in later)]


def _named_in(note: Path) -> Path | None:
    text = note.read_bytes().decode(errors='replace').strip() if note.is_file() else ''
    # Anything may stand in a torn file: what can be no path is taken for nothing.
    return Path(text) if text.isprintable() and 0 < len(text) < 4096 else None


def _names_and_folders(runner: Any) -> tuple[list[re.Pattern], set[Path]]:
    templates, folders = list(DEFAULT_NAMES), {Path(runner.work_dir)}
    for hook in runner.hooks:
        if hasattr(hook, 'filename_tmpl') and hasattr(hook, 'out_dir'):
            templates.append(hook.filename_tmpl)
            if hook.out_dir is not None and '://' not in str(hook.out_dir):
                folders.add(Path(hook.out_dir, Path(runner.work_dir).name))
    return [checkpoint_pattern(template) for template in templates], folders


def _files(folders: set[Path], patterns: list[re.Pattern]) -> Iterator[tuple[Path, int]]:
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else ():
            step = _step_of(path, patterns)
            if step >= 0 and path.is_file():
                yield path, step


def _step_of(path: Path, patterns: list[re.Pattern]) -> int:
    """Number in a checkpoint's name; -1 for other files and the best ones, which lack a state."""
    matches = [pattern.fullmatch(path.name) for pattern in patterns]
    steps = [int(match[2]) for match in matches if match and not match[1]]
    return steps[0] if steps else -1


@in_place_of(RUNNER, 'Runner.resume')
def _resume(resume: Original, runner: Any, *args: Any, **kwargs: Any) -> None:
    runner._resuming = True
    try:
        resume(runner, *args, **kwargs)
    finally:
        runner._resuming = False


@in_place_of(RUNNER, 'Runner.load_checkpoint')
def _load_complete(
    _: Original,
    runner: Any,
    filename: str,
    map_location: Any = 'cpu',
    strict: bool = False,
    revise_keys: Any = None,
) -> Any:
    """Load all weights of a model, in any dialect, or none."""
    # MMEngine (to 0.10.7) loads with strict=False: a plain model starts from random weights where a
    # file has other names or widths.
    from mmengine.runner import checkpoint as host

    # 1. Read it; 2. complete weights in the model's own names, or an error that names the file.
    checkpoint = host._load_checkpoint(filename, map_location=map_location)
    model = getattr(runner.model, 'module', runner.model)
    resuming = getattr(runner, '_resuming', False)
    try:
        if resuming:
            _require_state(checkpoint, filename)
            # What a model says that older checkpoints may lack, it completes itself.
            optional = tuple(getattr(model, 'may_be_missing', ()))
            given, reference = (
                {key: value for key, value in state.items() if not key.startswith(optional)}
                for state in (checkpoint['state_dict'], model.state_dict())
            )
            require_same_keys(given, reference, 'this model')
        else:
            checkpoint = _weights_alone(checkpoint, model, runner, filename)
    except CheckpointError:
        raise
    except ValueError as error:
        raise ValueError(f'{filename}: {error}{_HINT if resuming else ""}') from error
    broken = first_not_finite(checkpoint['state_dict'])
    if broken is not None:
        raise CheckpointError(f'{filename} is of a training that diverged: {broken} is not finite')
    # 3. Averaged weights start from the same; 4. load, all of them.
    runner.call_hook('after_load_checkpoint', checkpoint=checkpoint)
    host._load_checkpoint_to_model(model, checkpoint, True)
    runner._has_loaded = True
    runner.logger.info(f'Load checkpoint from {filename}')
    return checkpoint


def _weights_alone(checkpoint: Any, model: nn.Module, runner: Any, filename: str) -> dict[str, Any]:
    weights = find_state_dict(checkpoint)
    reference = model.state_dict()
    if is_cascade(weights) and not is_cascade(reference):
        runner.logger.warning(f'{filename} holds a cascade: its student is what is loaded')
    if not _translates(model):
        weights = to_plain_state_dict(weights, reference)
    meta = checkpoint.get('meta')
    return {'meta': meta if isinstance(meta, dict) else {}, 'state_dict': weights}


def _translates(model: nn.Module) -> bool:
    """Whether a model understands foreign dialects itself, as a cascade does."""
    return type(model)._load_from_state_dict is not nn.Module._load_from_state_dict


def _require_state(checkpoint: Any, filename: str) -> None:
    """Require what MMEngine resumes from."""
    wanted = {'meta': Mapping, 'message_hub': Mapping, 'state_dict': Mapping}
    content = checkpoint if isinstance(checkpoint, Mapping) else {}
    lacking = [name for name, kind in wanted.items() if not isinstance(content.get(name), kind)]
    if not lacking:
        counts = [content['meta'].get(name) for name in ('epoch', 'iter')]
        lacking = [] if all(type(c) is int and c >= 0 for c in counts) else ['meta.epoch or .iter']
    if lacking:
        raise CheckpointError(
            f'{filename} holds no training state to resume from ({", ".join(lacking)} missing); '
            'to start from its weights, give it as load_from instead'
        )


@in_place_of('mmengine.model.weight_init', 'PretrainedInit.__call__')
def _initialise(_: Original, init: Any, model: nn.Module) -> None:
    """Load for ``init_cfg``: complete too, though a file may have more than a model needs."""
    from mmengine.model.weight_init import update_init_info
    from mmengine.runner import checkpoint as host

    checkpoint = host._load_checkpoint(init.checkpoint, map_location=init.map_location)
    try:
        weights = find_state_dict(checkpoint)
        if init.prefix is not None:
            weights = _below(weights, init.prefix.rstrip('.') + '.')
        if not _translates(model):
            weights = to_plain_state_dict(weights, model.state_dict(), surplus=True)
    except ValueError as error:
        raise ValueError(f'init_cfg: {init.checkpoint}: {error}') from error
    host.load_state_dict(model, weights, strict=True, logger='current')
    if hasattr(model, '_params_init_info'):
        update_init_info(model, init_info=init._get_init_info())


def _below(weights: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    below = {key.removeprefix(prefix): v for key, v in weights.items() if key.startswith(prefix)}
    if not below:
        raise ValueError(f'no weights begin with the prefix {prefix!r}')
    return below
