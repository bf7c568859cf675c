"""Checkpoints that are whole or not there, removed only when a newer one is, and only our own."""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from typing import IO, Any

from mmengine.dist import is_main_process

from mmsamdistill.compat.import_hook import Original, after_import, in_place_of
from mmsamdistill.files import write_atomically
from mmsamdistill.weights.dialects import first_not_finite
from mmsamdistill.weights.reading import plain_numbers

CHECKPOINT_HOOK = 'mmengine.hooks.checkpoint_hook'


def checkpoint_pattern(template: str) -> re.Pattern:
    """Match the names that a ``CheckpointHook`` gives its files; the last group is the step."""
    before, _, after = template.partition('{}')
    return re.compile(rf'(best_.+_)?{re.escape(before)}(\d+){re.escape(after)}')


@in_place_of('mmengine.runner.checkpoint', 'save_checkpoint')
def _save_plain(save: Original, checkpoint: dict, *args: Any, **kwargs: Any) -> None:
    save(plain_numbers(checkpoint), *args, **kwargs)


@in_place_of('mmengine.fileio.backends.local_backend', 'LocalBackend.put')
def _put_whole(_: Original, backend: Any, content: bytes, path: str) -> None:
    """Write atomically; MMEngine (to 0.10.7) leaves a torn checkpoint when a run is killed."""
    write_atomically(path, content)


@contextlib.contextmanager
def _open_atomically(path: str, mode: str = 'r') -> Iterator[IO[str]]:
    """Stand for ``open`` in the hook's module, which writes ``last_checkpoint`` with it."""
    if mode != 'w':
        with open(path, mode) as file:
            yield file
        return
    text = io.StringIO()
    yield text
    write_atomically(path, text.getvalue().encode())


after_import(CHECKPOINT_HOOK, lambda module: vars(module).update(open=_open_atomically))


class _RemovingLater:
    """A file backend that notes what is to be removed until the new checkpoint is whole."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.doomed: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.doomed.append(path)

    def rmtree(self, path: str) -> None:
        self.doomed.append(path)


@in_place_of(CHECKPOINT_HOOK, 'CheckpointHook._save_checkpoint_with_step')
@in_place_of(CHECKPOINT_HOOK, 'CheckpointHook._save_best_checkpoint')
def _remove_afterwards(save: Original, hook: Any, runner: Any, *args: Any, **kwargs: Any) -> None:
    """Let one of the hook's saving methods write first and remove then."""
    # MMEngine (to 0.10.7) removes what max_keep_ckpts or a new best make superfluous first.
    backend = hook.file_backend
    if isinstance(backend, _RemovingLater):  # a best one saves the last one again
        save(hook, runner, *args, **kwargs)
        return
    hook.file_backend = later = _RemovingLater(backend)
    try:
        save(hook, runner, *args, **kwargs)
    finally:
        hook.file_backend = backend
    for path in later.doomed:
        _remove(hook, runner, path)


def _remove(hook: Any, runner: Any, path: Any) -> None:
    """Remove a checkpoint of this run that no longer counts, and nothing else."""
    in_use = {hook.last_ckpt, *_bests(hook).values()}
    if path in in_use:
        return
    if not is_own_checkpoint(hook, path):
        runner.logger.warning(f'{path} is no checkpoint of this run and is not removed')
    elif hook.file_backend.isfile(path):
        hook.file_backend.remove(path)


def _bests(hook: Any) -> dict[str, Any]:
    """The best checkpoints so far by the name under which the message hub keeps them."""
    if not hook.save_best:
        return {}
    if len(hook.key_indicators) == 1:
        return {'best_ckpt': hook.best_ckpt_path}
    return {f'best_ckpt_{name}': path for name, path in hook.best_ckpt_path_dict.items()}


def is_own_checkpoint(hook: Any, path: Any) -> bool:
    """Whether a path lies directly in the hook's folder and has a checkpoint's name."""
    if not isinstance(path, str) or not checkpoint_pattern(hook.filename_tmpl).fullmatch(
        os.path.basename(path)
    ):
        return False
    folder = os.path.dirname(path)
    if '://' in path:
        return folder.rstrip('/') == str(hook.out_dir).rstrip('/')
    return os.path.realpath(folder) == os.path.realpath(hook.out_dir)


@in_place_of(CHECKPOINT_HOOK, 'CheckpointHook.before_train')
def _trust_own_files(before_train: Original, hook: Any, runner: Any) -> None:
    """Let the hook take over from a resumed message hub only what this run may remove."""
    # The hub says which file was the best so far; whatever path it names there was removed.
    # 1. Which checkpoints are kept, as far as that can be believed.
    known = runner.message_hub.runtime_info
    kept = known.get('keep_ckpt_ids')
    surplus: list[int] = []
    if kept is not None and hook.max_keep_ckpts > 0:
        steps = [s for s in kept if type(s) is int] if isinstance(kept, (list, tuple)) else []
        surplus = steps[: -hook.max_keep_ckpts]
        known['keep_ckpt_ids'] = steps[-hook.max_keep_ckpts :]
    before_train(hook, runner)
    _require_known_metric(hook, runner)
    # 2. The best ones are this run's own.
    for name, path in _bests(hook).items():
        if path is not None and not is_own_checkpoint(hook, path):
            runner.logger.info(f'{path} is of another run: it stays, and is no best of this')
            _forget_best(hook, name)
            known.pop(name, None)
    # 3. Those beyond max_keep_ckpts go now.
    if is_main_process():
        for step in surplus:
            path = hook.file_backend.join_path(hook.out_dir, hook.filename_tmpl.format(step))
            _remove(hook, runner, path)


def _forget_best(hook: Any, name: str) -> None:
    if name == 'best_ckpt':
        hook.best_ckpt_path = None
    else:
        hook.best_ckpt_path_dict[name.removeprefix('best_ckpt_')] = None


@in_place_of(CHECKPOINT_HOOK, 'CheckpointHook._save_best_checkpoint')
def _never_the_broken(save: Original, hook: Any, runner: Any, metrics: dict) -> None:
    """Keep weights that are no numbers from being the best ones, whatever the metric says."""
    if not hook.save_best:
        return
    _require_metrics(hook, metrics)
    averaged = [each.ema_model for each in runner.hooks if hasattr(each, 'ema_model')]
    found = [first_not_finite(each.state_dict()) for each in (runner.model, *averaged)]
    broken = next(filter(None, found), None)
    if broken is None:
        save(hook, runner, metrics)
    else:
        runner.logger.error(f'{broken} is not finite: not saved as best, whatever {metrics}')


def _require_metrics(hook: Any, metrics: dict) -> None:
    unknown = [name for name in hook.key_indicators if name not in metrics and name != 'auto']
    if unknown:
        raise KeyError(
            f'save_best={unknown[0]!r} of CheckpointHook is no metric of this validation, which '
            f'has {", ".join(map(repr, metrics))}; write one of these into '
            'default_hooks.checkpoint.save_best'
        )


def _require_known_metric(hook: Any, runner: Any) -> None:
    """Say before training what would be a KeyError at the first validation."""
    # Where every metric has its data set's name before it, a bare name is none of them.
    if not hook.save_best or runner.val_loop is None:
        return
    loop = runner.val_loop
    evaluators = getattr(loop, 'evaluators', None) or [getattr(loop, 'evaluator', None)]
    metrics = [metric for each in evaluators for metric in getattr(each, 'metrics', ())]
    prefixes = [metric.prefix for metric in metrics]
    bare = [name for name in hook.key_indicators if name != 'auto' and '/' not in name]
    if bare and metrics and all(prefixes):
        names = dict.fromkeys(f'{prefix}/{bare[0]}' for prefix in prefixes)
        raise KeyError(
            f'save_best={bare[0]!r} of CheckpointHook is no metric of this validation, whose names '
            f'begin with the data set: write {" or ".join(map(repr, names))} into '
            'default_hooks.checkpoint.save_best'
        )
