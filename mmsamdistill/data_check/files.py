"""Which files the datasets of a config read, by the datasets themselves, and which they do not."""

import contextlib
import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mmagic.registry import DATASETS

from mmsamdistill.arguments import check_choice
from mmsamdistill.datasets.region_dataset import one_for_each
from mmsamdistill.datasets.region_pipeline import type_name
from mmsamdistill.images.finding import LOOP, walk_folder
from mmsamdistill.images.header import ignores_orientation
from mmsamdistill.value_range import value_range

SPLITS = ('train', 'val', 'test')
_NOT_DEGRADING = {
    *('LoadImageFromFile', 'SetValues', 'PairedRandomCrop', 'ModCrop', 'PadToPatch', 'Flip'),
    *('RandomTransposeHW', 'RescaleToZeroOne', 'LoadRegionMap', 'PackInputs'),
}
_PATCH_ARGUMENTS = ('gt_patch_size', 'patch_size', 'crop_size')


@dataclass
class Leaf:
    """A dataset that lists files, out of the wrappers around it, and its region maps' folder."""

    config: dict[str, Any]
    regions: str | None = None

    @property
    def name(self) -> str:
        """What the data are called: ``metainfo.dataset_type``, or the dataset's type."""
        return str(self.config.get('metainfo', {}).get('dataset_type') or self.config['type'])

    @property
    def metainfo(self) -> dict[str, Any]:
        """What the dataset says of itself, its type's defaults included."""
        defaults = getattr(DATASETS.get(type_name(self.config)), 'METAINFO', {})
        return {**defaults, **(self.config.get('metainfo') or {})}

    @property
    def pipeline(self) -> list[Mapping[str, Any]]:
        """Those transforms that are configurations, and those inside them, in order."""
        return list(_steps(self.config.get('pipeline', ())))

    def loaders(self) -> dict[str, Mapping[str, Any]]:
        """The transforms that load an image, by the image's key."""
        named = (step for step in self.pipeline if type_name(step) == 'LoadImageFromFile')
        return {step['key']: step for step in named}

    def databases(self) -> dict[str, str]:
        """Paths of the LMDBs, by the key of the image that is loaded from it."""
        backends = {key: step.get('backend_args') or {} for key, step in self.loaders().items()}
        return {
            key: str(backend['db_path'])
            for key, backend in backends.items()
            if backend.get('backend') == 'lmdb'
        }

    def color_type(self, key: str) -> str:
        """How an image is loaded."""
        return str(self.loaders().get(key, {}).get('color_type', 'color'))

    def orders(self) -> dict[str, str]:
        """In which order the channels of colour images are loaded, by the image's key."""
        colour = {key: step for key, step in self.loaders().items() if self.expects_colour(key)}
        return {key: step.get('channel_order', 'bgr') for key, step in colour.items()}

    def confusions(self) -> list[str]:
        """What cannot be meant of how the images of a sample are loaded."""
        orders, folders = self.orders(), self.config.get('data_prefix') or {}
        found = []
        if len(set(orders.values())) > 1:
            told = ', '.join(f'{key} as {order}' for key, order in orders.items())
            found.append(f'{told}: a model would learn to exchange the channels')
        # Unless something makes another image of it, the degraded one is the truth.
        pure = {type_name(step) for step in self.pipeline} <= _NOT_DEGRADING
        names = set((self.config.get('filename_tmpl') or {}).values())
        same = folders.get('img', 1) == folders.get('gt', 2) and len(names) <= 1
        if same and pure and not self.databases():
            found.append(f'img and gt are both loaded from {folders["gt"]!r}')
        return found

    def expects_colour(self, key: str) -> bool:
        """Whether an image is loaded as one of 8-bit colour."""
        return self.color_type(key).startswith('color')

    def white(self, key: str, deep: bool) -> float:
        """Which value is white in an image as it reaches the model."""
        if any(type_name(step) == 'RescaleToZeroOne' for step in self.pipeline):
            return 1.0
        return 65535.0 if deep and self.color_type(key) == 'unchanged' else 255.0

    def turns(self, key: str) -> bool:
        """Whether an image is turned as its camera says."""
        return not ignores_orientation(self.color_type(key))

    def patch(self) -> int:
        """Side of the largest patch that is cut out; 0 if none is, or images are padded to it."""
        sides, padded = [0], 0
        for step in self.pipeline:
            if type_name(step) == 'PadToPatch':
                padded = max(padded, step['size'])
            for name in _PATCH_ARGUMENTS:
                value = step.get(name, 0)
                sides += value if isinstance(value, (list, tuple)) else [value]
        patch = max(int(side) for side in sides)
        return 0 if patch <= padded else patch

    def build(self, **changes: Any) -> Any:
        """Build the dataset without its pipeline, not yet listing files."""
        # Serialised, an empty list would be an error that says nothing of the folder.
        options = {'pipeline': [], 'lazy_init': True, 'serialize_data': False, **changes}
        config = {**copy.deepcopy(self.config), **options}
        # MMEngine takes every name in it for a file and warns that there is none.
        config.pop('metainfo', None)
        return DATASETS.build(config)

    def folders(self) -> dict[str, str]:
        """Folder or database of each image, by its key; ``ann_file`` and ``regions`` if used."""
        found: dict[str, str] = {}
        with contextlib.suppress(TypeError):  # not a dataset of MMEngine's kind
            dataset = self.build()
            found.update({key: str(path) for key, path in dataset.data_prefix.items()})
            if dataset.ann_file:
                found['ann_file'] = str(dataset.ann_file)
        found.update(self.databases())
        if self.regions is not None:
            found['regions'] = self.regions
        return found


def leaves_of(dataset: Mapping[str, Any], regions: Any = None) -> Iterator[Leaf]:
    """Take a dataset's configuration apart, down to what lists files."""
    if not isinstance(dataset, Mapping) or 'type' not in dataset:
        raise TypeError(f'a dataset must be a configuration, dict(type=...), got {dataset!r}')
    if type_name(dataset) == 'RegionDataset':
        regions = dataset['regions']
    if 'datasets' in dataset:
        inner = dataset['datasets']
        for each, folder in zip(inner, one_for_each(regions, len(inner)), strict=True):
            yield from leaves_of(each, folder)
    elif 'dataset' in dataset:
        yield from leaves_of(dataset['dataset'], regions)
    else:
        # A pipeline may load the maps itself, without RegionDataset.
        loads = [s for s in dataset.get('pipeline', ()) if type_name(s) == 'LoadRegionMap']
        own = loads[0]['root'] if loads and isinstance(loads[0], Mapping) else None
        yield Leaf(dict(dataset), own if regions is None else regions)


def mismatches(dataset: Any) -> Iterator[str]:
    """What keeps a ``ConcatDataset``, anywhere in a dataset's configuration, from being built."""
    inner = dataset.get('datasets', [dataset.get('dataset')]) if hasattr(dataset, 'get') else []
    for each in inner:
        yield from mismatches(each)
    if not inner or type_name(dataset) != 'ConcatDataset':
        return
    ignored = dataset.get('ignore_keys') or ()
    told = [next(leaves_of(each)).metainfo for each in inner]
    for key in dict.fromkeys(key for each in told for key in each):
        values = [each.get(key) for each in told]
        if key not in ([ignored] if isinstance(ignored, str) else ignored) and any(
            value != values[0] for value in values
        ):
            yield (
                f'ConcatDataset joins data whose metainfo differs in {key!r} '
                f'({", ".join(map(repr, values))}): make it equal, or give ConcatDataset '
                f'ignore_keys={key!r}'
            )


def datasets_of(cfg: Mapping[str, Any], split: str) -> list[dict[str, Any]]:
    """The dataset configurations of a split."""
    check_choice(SPLITS, split=split)
    loaders = cfg.get(f'{split}_dataloader') or []
    loaders = [loaders] if isinstance(loaders, Mapping) else loaders
    return [loader['dataset'] for loader in loaders]


def remarks_on_folder(folder: str | Path, listed: set[str], recursive: bool) -> list[str]:
    """Say what of a folder a dataset does not list."""
    folder = Path(folder)
    known = {str(Path(path)) for path in listed}
    below, odd, loops = 0, Counter[str](), []
    for path, reason in walk_folder(folder):
        if str(path) in known:
            continue
        if reason == LOOP:
            loops.append(str(path))
        elif path.parent != folder and not recursive:
            below += not reason
        else:
            # As it is written: the dataset takes '.png' and '.PNG', and not '.Png'.
            odd[reason if reason == 'hidden' else path.suffix or 'without suffix'] += 1
    remarks = []
    if below:
        remarks.append(
            f'{folder}: {below} images in folders below it are not read; recursive=True reads them'
        )
    if odd:
        kinds = ', '.join(f'{count} {kind}' for kind, count in odd.most_common())
        remarks.append(f'{folder}: {odd.total()} files are not read ({kinds})')
    if loops and recursive:
        remarks.append(f'{loops[0]} leads back to a folder around it: images are read repeatedly')
    return remarks


def white_of(cfg: Mapping[str, Any]) -> float | None:
    """Which value is white for a config's model; None if the config does not tell."""
    # The student's preprocessor is the one that sees the images.
    model = cfg.get('model') or {}
    while isinstance(model.get('restorer'), Mapping):
        if model.get('value_range') is not None:
            return float(model['value_range'])
        model = model['restorer']
    said = model.get('data_preprocessor') or {}
    mean, std = said.get('mean'), said.get('std')
    if mean is None or std is None:
        return None
    mean, std = (torch.as_tensor(each, dtype=torch.float32).flatten() for each in (mean, std))
    try:
        return value_range(SimpleNamespace(_enable_normalize=True, mean=mean, std=std))
    except ValueError:
        return None  # whoever builds the model says so


def _steps(transforms: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(transforms, Mapping):
        yield transforms
        yield from _steps(transforms.get('transforms', ()))
    elif isinstance(transforms, (list, tuple)):
        for each in transforms:
            yield from _steps(each)
