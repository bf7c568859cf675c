"""Names of a validation's metrics, checked before a run that would end at its first validation."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from mmsamdistill.datasets.region_pipeline import type_name


def check_validation(cfg: Config) -> None:
    """Require that validation sets have names of their own, and that ``save_best`` means one.

    MMEngine finds this out when the first validation is over.
    """
    # 1. One evaluator a set, each with names that no other set has.
    evaluators = cfg.get('val_evaluator') or []
    several = isinstance(cfg.get('val_dataloader'), (list, tuple))
    sets = list(evaluators) if several and isinstance(evaluators, (list, tuple)) else [evaluators]
    seen: dict[str, int] = {}
    names: list[str] = []
    for index, evaluator in enumerate(sets):
        own = [name for each in metric_configs(evaluator) for name in _names_of(each)]
        for name in set(own) & set(seen):
            raise ValueError(
                f'val_evaluator: sets {seen[name]} and {index} both have a metric {name!r}: give '
                'each set a prefix of its own'
            )
        seen |= dict.fromkeys(own, index)
        names += own
    # 2. What save_best names is one of them, with its prefix.
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    best = hook.get('save_best') or []
    for indicator in [best] if isinstance(best, str) else best:
        meant = [name for name in names if name.rpartition('/')[2] == indicator]
        if meant and indicator not in names:
            raise ValueError(
                f'default_hooks.checkpoint.save_best={indicator!r}: the metrics are called '
                f'{", ".join(meant)}; write one of these (and rule=... beside it)'
            )
        if indicator == 'auto' and names and not _has_rule(names[0], hook):
            raise ValueError(
                f"default_hooks.checkpoint.save_best='auto': nobody knows whether more or less "
                f"{names[0]} is better; write rule='greater' or rule='less' beside it"
            )


def _has_rule(name: str, hook: Mapping[str, Any]) -> bool:
    from mmengine.hooks import CheckpointHook

    known = [
        *(hook.get('greater_keys') or CheckpointHook._default_greater_keys),
        *(hook.get('less_keys') or CheckpointHook._default_less_keys),
    ]
    return bool(hook.get('rule')) or any(key.lower() in name.lower() for key in known)


def metric_configs(evaluator: Any) -> Iterator[Mapping[str, Any]]:
    """The metrics of an evaluator's config, which may be nested for several data sets."""
    if isinstance(evaluator, (list, tuple)):
        for each in evaluator:
            yield from metric_configs(each)
    elif isinstance(evaluator, Mapping) and evaluator.get('type', 'Evaluator') == 'Evaluator':
        yield from metric_configs(evaluator['metrics'])
    elif isinstance(evaluator, Mapping):
        yield evaluator


def _names_of(metric: Mapping[str, Any]) -> list[str]:
    # Ours name their numbers themselves; MMagic's are called as their class.
    names = metric.get('metrics', ('PSNR', 'SSIM')) if 'protocol' in metric else type_name(metric)
    prefix = f'{metric["prefix"]}/' if metric.get('prefix') else ''
    return [prefix + name for name in ([names] if isinstance(names, str) else names)]
