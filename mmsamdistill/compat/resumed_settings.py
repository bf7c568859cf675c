"""What a resumed run takes from its checkpoint although its config says something else."""

from collections.abc import Iterator
from typing import Any

from mmengine.optim import OptimWrapperDict

from mmsamdistill.compat.import_hook import Original, in_place_of

# How far a schedule has come, and what follows from the optimiser's settings.
_STATE = ('last_step', 'base_values', 'verbose')


@in_place_of('mmengine.runner.runner', 'Runner.resume')
def _resume_and_tell(
    resume: Original, runner: Any, filename: str, *args: Any, **kwargs: Any
) -> None:
    """Resume, and say what of the config the whole optimiser and its schedules outweigh."""
    said = dict(_settings(runner))
    resume(runner, filename, *args, **kwargs)
    _require_same_optimiser(runner, filename)
    found = dict(_settings(runner))
    kept = [
        f'{name} = {found[name]} (config: {value})'
        for name, value in said.items()
        if name in found and found[name] != value
    ]
    if kept:
        runner.logger.warning(
            f'resumed as {filename} has it, whatever the config says: {"; ".join(kept[:8])}. '
            'To train with other settings, start from its weights: load_from without resume'
        )
    last = getattr(runner.train_loop, '_max_iters', runner.iter)
    if runner.iter > last:
        runner.logger.warning(
            f'{filename} is of iteration {runner.iter}, beyond max_iters={last}: nothing is trained'
        )


def _settings(runner: Any) -> Iterator[tuple[str, Any]]:
    """What the config says of the optimiser and of schedules, by name."""
    for optimiser in _optimisers(runner):
        for number, group in enumerate(optimiser.param_groups):
            for name, value in group.items():
                # The learning rate of the moment follows from the first one and the schedule.
                if name not in ('params', 'lr'):
                    yield f'{type(optimiser).__name__}.param_groups[{number}].{name}', value
    several = runner.param_schedulers or []
    lists = several.values() if isinstance(several, dict) else [several]
    for number, schedule in enumerate(each for schedules in lists for each in schedules):
        for name, value in getattr(schedule, '__dict__', {}).items():
            plain = isinstance(value, str | int | float | list | tuple | None)
            if plain and name not in _STATE and not name.startswith('_'):
                yield f'param_scheduler[{number}].{name}', value


def _require_same_optimiser(runner: Any, filename: str) -> None:
    """Refuse the state of another optimiser, which would be a KeyError at the first step."""
    for optimiser in _optimisers(runner):
        for group in optimiser.param_groups:
            lacking = sorted(optimiser.defaults.keys() - group.keys())
            if lacking:
                raise ValueError(
                    f'{filename} is of another optimiser than {type(optimiser).__name__}, whose '
                    f'{", ".join(lacking)} it lacks: set optim_wrapper.optimizer as it was, or '
                    'start from its weights by load_from without resume'
                )


def _optimisers(runner: Any) -> list[Any]:
    wrapped = runner.optim_wrapper
    parts = list(wrapped.values()) if isinstance(wrapped, OptimWrapperDict) else [wrapped]
    return [part.optimizer for part in parts if hasattr(part, 'optimizer')]
