"""What a table of runs is: a plain config, and rows that say how they differ from it."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmsamdistill.datasets.region_pipeline import type_name


@dataclasses.dataclass(frozen=True)
class Row:
    """One way of training the network of a table.

    Args:
        name: Short name, used in paths.
        title: What readers see. Default: the name.
        distill: Arguments of ``SAMDistillRestorer`` besides ``restorer``. None: the plain model.
        regions: Folder of a region cache beside the images; None: no maps are loaded.
        crop: Arguments of ``RegionCrop`` around the training's random crop; needs ``regions``.
            None: the crop stays as it is.
        augment: Transforms of training alone, put in before the images are packed.
        unlabelled: Train on the data set ``unlabelled`` of the plain config as well, as many of it
            beside each batch: 'images' without their truth, or, as an oracle, 'pairs' with it.
        changes: Further settings of the config, merged as ``--cfg-options`` would be.
        length: Times as many iterations as the table has: the baseline of equal training compute.
        start_from: Start from this row's weights, same seed: the second of two stages.
        trained: False measures the degraded images themselves: where every training starts from.
        note: What a reader should know, shown under the table.
    """

    name: str
    title: str = ''
    distill: Mapping[str, Any] | None = None
    regions: str | None = None
    crop: Mapping[str, Any] | None = None
    augment: Sequence[Mapping[str, Any]] = ()
    unlabelled: str | None = None
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    length: float = 1.0
    start_from: str | None = None
    trained: bool = True
    note: str = ''

    @property
    def needs(self) -> list[str]:
        """Rows that must have run before, with the same seed."""
        return [self.start_from] if self.start_from else []


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows over one plain config.

    Args:
        name: Short name, used in paths: the file's.
        title: What readers see.
        plain: The plain config; data and schedule are every row's.
        iterations: Of every row that does not say otherwise; the schedule is stretched to them.
        seeds: Seeds of every row.
        in_domain: Name of the test set that is in domain; the others are out of it.
        rows: The rows by name, in the table's order. One is called 'plain'.
        compare: Pairs of rows whose difference is a question of its own, such as real against
            shuffled regions.
        overview: Whether its gains stand beside those of other tables.
    """

    name: str
    title: str
    plain: Config
    iterations: int
    seeds: tuple[int, ...]
    in_domain: str
    rows: Mapping[str, Row]
    compare: tuple[tuple[str, str], ...] = ()
    overview: bool = True


def load_table(path: str | Path) -> Table:
    """Read a table's file.

    The file is a config of MMEngine's with ``title``, ``plain`` (a path, seen from the file),
    ``iterations``, ``seeds``, ``in_domain``, ``compare``, ``overview`` and ``rows``: the arguments
    of :class:`Row` by name.

    Args:
        path: The file.

    Returns:
        The table.

    Raises:
        FileNotFoundError: If the file or its plain config does not exist.
        KeyError: If a setting is missing, or a row refers to one that is not there.
        TypeError: If a row has a setting that rows do not have.
        ValueError: If a row's name cannot be part of a path, or a row has a crop without regions.
    """
    path = Path(path)
    content = Config.fromfile(path)
    missing = [key for key in ('title', 'plain', 'iterations', 'in_domain') if key not in content]
    if missing or 'plain' not in content.get('rows', {}):
        raise KeyError(f'{path}: {", ".join(missing) or "a row called plain"} is missing')
    rows = {name: _read_row(path, name, row) for name, row in content.rows.to_dict().items()}
    compare = tuple((first, second) for first, second in content.get('compare', ()))
    named = [(f'row {row.name!r}', name) for row in rows.values() for name in row.needs]
    for where, name in [*named, *(('compare', name) for pair in compare for name in pair)]:
        if name not in rows:
            raise KeyError(f'{path}: {where} refers to {name!r}, which is no row')
    return Table(
        name=path.stem,
        title=content.title,
        plain=Config.fromfile(path.parent / content.plain),
        iterations=int(content.iterations),
        seeds=tuple(content.get('seeds', (0, 1, 2))),
        in_domain=content.in_domain,
        rows=rows,
        compare=compare,
        overview=content.get('overview', True),
    )


def row_config(table: Table, name: str, seed: int, load_from: str | None = None) -> Config:
    """Make a row's whole config out of the table's plain one.

    Args:
        table: The table.
        name: The row.
        seed: Seed of the run.
        load_from: Weights to start from.

    Returns:
        A config for MMEngine's Runner, without work directory.
    """
    row = table.rows[name]
    content = copy.deepcopy(table.plain._cfg_dict)
    if row.distill is not None:
        content['model'] = {
            'type': 'SAMDistillRestorer',
            'restorer': content['model'],
            **copy.deepcopy(dict(row.distill)),
        }
        content['optim_wrapper']['constructor'] = 'CascadeOptimWrapperConstructor'
        content['custom_hooks'] = [*content['custom_hooks'], {'type': 'TeacherEvaluationHook'}]
    if row.augment:
        _before_packing(content['train_dataloader']['dataset'], row.augment)
    if row.unlabelled is not None:
        content['train_dataloader'] = _with_others(
            content['train_dataloader'], content['unlabelled'], row.unlabelled
        )
    if row.regions is not None:
        for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            content[key] = _with_regions(content[key], row.regions)
        if row.crop is not None:
            content['train_dataloader']['dataset']['crop'] = dict(row.crop)
    cfg = Config(content)
    cfg.merge_from_dict(_schedule(round(row.length * table.iterations)))
    cfg.merge_from_dict({'randomness': {'seed': seed, 'diff_rank_seed': True}})
    cfg.merge_from_dict(dict(row.changes))
    cfg.load_from = load_from
    return cfg


def _read_row(path: Path, name: str, settings: dict[str, Any]) -> Row:
    if not name.replace('_', '').replace('-', '').isalnum():
        raise ValueError(f'{path}: row name {name!r} may have letters, digits, - and _ only')
    known = {field.name for field in dataclasses.fields(Row)}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise TypeError(f'{path}: row {name!r} has {unknown}; rows have {sorted(known)}')
    if settings.get('unlabelled') not in (None, 'images', 'pairs'):
        raise ValueError(
            f"{path}: row {name!r} has unlabelled={settings['unlabelled']!r}; 'images' or 'pairs'"
        )
    if settings.get('crop') is not None and settings.get('regions') is None:
        raise ValueError(f'{path}: row {name!r} has crop, and no regions to choose it by')
    return Row(name=name, **{'title': name, **settings})


def _before_packing(dataset: Any, transforms: Sequence[Mapping[str, Any]]) -> None:
    pipeline = dataset['pipeline']
    packs = [type_name(transform).startswith('Pack') for transform in pipeline]
    position = packs.index(True) if True in packs else len(pipeline)
    pipeline[position:position] = copy.deepcopy(list(transforms))


def _with_others(loader: Any, others: Any, kind: str) -> dict[str, Any]:
    others = copy.deepcopy(others)
    if kind == 'images':
        _before_packing(others, [{'type': 'WithoutTruth'}])
    size = 2 * loader['batch_size']
    return {
        **loader,
        'batch_size': size,
        'sampler': {'type': 'MixedSampler', 'batch_size': size, 'ratio': (1, 1)},
        'dataset': {'type': 'ConcatDataset', 'datasets': [loader['dataset'], others]},
    }


def _with_regions(loader: Any, folder: str) -> Any:
    if isinstance(loader, (list, tuple)):
        return [_with_regions(each, folder) for each in loader]
    dataset = loader['dataset']
    regions = str(Path(dataset['data_root'], folder))
    return {**loader, 'dataset': {'type': 'RegionDataset', 'dataset': dataset, 'regions': regions}}


def _schedule(iterations: int) -> dict[str, Any]:
    half = max(1, iterations // 2)
    return {
        'train_cfg.max_iters': iterations,
        'train_cfg.val_interval': half,
        'param_scheduler.T_max': iterations,
        'default_hooks.checkpoint.interval': half,
    }
