"""Any dataset, with region maps in its samples."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmagic.registry import DATASETS

from mmsamdistill.datasets.region_pipeline import Geometric, add_regions_to_pipeline


@DATASETS.register_module()
class RegionDataset:
    """Build a dataset whose samples carry region maps from a cache.

    Three lines in a config, which repeat neither its pipeline nor its dataset::

        train_dataloader = dict(dataset=dict(
            _delete_=True, type='RegionDataset', regions='data/gopro/train/regions',
            dataset={{_base_.train_dataloader.dataset}}))

    What is built is the dataset itself, its pipeline extended by :func:`add_regions_to_pipeline`.

    Args:
        dataset: Configuration of a dataset with a pipeline; datasets may be nested in it
            (``RepeatDataset``, ``ConcatDataset``, ...). Not changed.
        regions: Folder of the region cache; for a ``ConcatDataset`` also a list of folders, one
            for each of its datasets.
        geometric: What transforms of one's own do: the name of the argument that lists keys, True
            for others that move pixels, False for those that move none. Default: None.
        crop: Arguments of :class:`RegionCrop`, which then chooses among the crops that the first
            random crop of a pipeline makes: ``crop=dict(candidates=2)``. Default: None, no choice.

    Raises:
        FileNotFoundError: If there is no such cache.
        TypeError: If ``dataset`` is no configuration.
        ValueError: If region maps cannot be carried through the pipeline exactly, or there is no
            random crop to choose among.
    """

    def __new__(
        cls,
        dataset: dict[str, Any],
        regions: str | Sequence[str],
        geometric: Geometric | None = None,
        crop: Mapping[str, Any] | None = None,
    ) -> Any:
        """Build what the configuration describes."""
        return DATASETS.build(add_regions_to_config(dataset, regions, geometric, crop))


def add_regions_to_config(
    dataset: dict[str, Any],
    regions: str | Sequence[str],
    geometric: Geometric | None = None,
    crop: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Copy a dataset's configuration with region maps in every pipeline of it."""
    if not isinstance(dataset, dict):
        raise TypeError(
            f'RegionDataset needs a configuration, dict(type=...), got {type(dataset).__name__}'
        )
    dataset = copy.deepcopy(dataset)
    # Down to the datasets that have a pipeline, through whatever wraps them.
    if 'datasets' in dataset:
        folders = one_for_each(regions, len(dataset['datasets']))
        dataset['datasets'] = [
            add_regions_to_config(inner, folder, geometric, crop)
            for inner, folder in zip(dataset['datasets'], folders, strict=True)
        ]
    elif 'dataset' in dataset:
        dataset['dataset'] = add_regions_to_config(dataset['dataset'], regions, geometric, crop)
    elif 'pipeline' in dataset:
        folder = _one_folder(regions, dataset)
        dataset['pipeline'] = add_regions_to_pipeline(
            dataset['pipeline'], folder, geometric, crop=crop
        )
    else:
        raise ValueError(
            f'{dataset.get("type")} has no pipeline to load region maps in; give one that has'
        )
    return dataset


def one_for_each(regions: str | Sequence[str] | None, count: int) -> list[Any]:
    """The region caches of several datasets, which share one or none, or have one each."""
    if regions is None or isinstance(regions, str):
        return [regions] * count
    if len(regions) != count:
        raise ValueError(
            f'{len(regions)} region caches for {count} datasets; give one, or one for each'
        )
    return list(regions)


def _one_folder(regions: str | Sequence[str], dataset: dict[str, Any]) -> str:
    if not isinstance(regions, str):
        raise ValueError(
            f'{dataset.get("type")} needs one region cache, got {regions!r}; lists are for '
            'ConcatDataset'
        )
    if not Path(regions).is_dir():
        prefix = dataset.get('data_prefix') or {}
        images = Path(dataset.get('data_root') or '', prefix.get('gt') or prefix.get('img') or '')
        raise FileNotFoundError(
            f'there is no region cache {regions}; make it by: mmsamdistill extract_regions '
            f'{images} {regions} --source sam --checkpoint SAM.pth'
        )
    return regions
