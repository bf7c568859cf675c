"""What could end a test half way, found before it starts."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmsamdistill.data_check.check import check_data
from mmsamdistill.data_check.files import datasets_of, leaves_of, mismatches
from mmsamdistill.data_check.report import is_there


def without_missing_sets(cfg: Config, skip: bool = False) -> tuple[Config, list[str]]:
    """Find the test sets of a config that are not on this machine, and leave them out if told."""
    datasets = datasets_of(cfg, 'test')
    if not datasets:
        raise ValueError(f'the config {cfg.filename or ""} has no test_dataloader')
    phrases = [_missing(dataset) for dataset in datasets]
    missing = [phrase for each in phrases for phrase in each]
    if not missing:
        return cfg, []
    if not skip or all(phrases):
        more = '' if all(phrases) else '\nput them there, or leave them out by --skip-missing'
        raise FileNotFoundError(
            '\n  '.join(['nothing was tested, these test sets are missing:', *missing]) + more
        )
    return _keep(cfg, [index for index, each in enumerate(phrases) if not each]), missing


def check_test_files(cfg: Config) -> None:
    """Look at every file of the test sets: whether it is there, whole, and fits its truth."""
    # A dataset that is not of MMEngine's kind knows itself what it needs.
    known = [dataset for dataset in datasets_of(cfg, 'test') if _lists_files(dataset)]
    sets = {'test_dataloader': [{'dataset': dataset} for dataset in known]}
    problems = []
    for report in check_data(sets, ['test']):
        # All of another size are those of a model that changes it.
        some = len(report.sizes) < report.samples
        kinds = ('missing', 'unreadable', *(['sizes'] if some else []))
        lines = (*report.errors, *report.lines(kinds))
        problems += [f'{report.name}: {line}' for line in lines]
    if problems:
        raise ValueError(
            '\n  '.join(['nothing was tested, these files are in the way:', *problems])
        )


def check_loading(cfg: Config, split: str = 'train') -> None:
    """Refuse a split whose images cannot be meant to be loaded so."""
    for dataset in datasets_of(cfg, split):
        for problem in mismatches(dataset):
            raise ValueError(f'{split}_dataloader: {problem}')
        for leaf in leaves_of(dataset):
            for problem in leaf.confusions():
                raise ValueError(f'{split}_dataloader, {leaf.name}: {problem}')


def check_prefixes(evaluators: Sequence[Sequence[Any]]) -> None:
    """Require that the numbers of different test sets have different names."""
    seen: set[Any] = set()
    for metrics in evaluators:
        prefixes = {metric.prefix for metric in metrics}
        for prefix in sorted(prefixes & seen, key=str):
            raise ValueError(
                f'two test sets have metrics with the prefix {prefix!r}: set one for each set'
            )
        seen |= prefixes


def _missing(dataset: dict[str, Any]) -> list[str]:
    """Folders, databases and lists of files that a dataset names and that are not there."""
    phrases = (
        f'{leaf.name} needs {path} ({key})'
        for leaf in leaves_of(dataset)
        for key, path in leaf.folders().items()
        if not is_there(path)
    )
    # Parts of one data set may name the same folder.
    return list(dict.fromkeys(phrases))


def _lists_files(dataset: Mapping[str, Any]) -> bool:
    try:
        for leaf in leaves_of(dataset):
            leaf.build()
    except TypeError:
        return False  # not of MMEngine's kind: it knows itself what it needs
    return True


def _keep(cfg: Config, indices: Sequence[int]) -> Config:
    """Take some of a config's test sets with their evaluators."""
    loaders, evaluators = cfg.test_dataloader, cfg.test_evaluator
    if len(loaders) != len(evaluators):
        raise ValueError(f'{len(loaders)} test sets need as many evaluators, got {len(evaluators)}')
    # Below the attribute access, where a list replaces a list.
    content = copy.deepcopy(cfg._cfg_dict)
    kept = [[each[index] for index in indices] for each in (loaders, evaluators)]
    # MMagic takes a list of one evaluator for the metrics of one.
    single = len(indices) == 1
    content['test_dataloader'], content['test_evaluator'] = (
        each[0] if single else each for each in kept
    )
    return Config(content, filename=cfg.filename)
