"""Rewriting a pipeline's configuration so that region maps travel with the images."""

import copy
from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

from mmagic.registry import TRANSFORMS

from mmsamdistill.datasets.transforms.regions import IMAGE_KEYS

# What MMagic's own transforms do; others say it themselves, by the class attributes `geometric`,
# with the meaning of the argument of that name, and `wraps`.
# Move pixels by index and take a list of keys: one more key is one more image.
BY_KEYS = {'FixedCrop': 'keys', 'Flip': 'keys', 'RandomTransposeHW': 'keys'}
# Move pixels by index, but know two keys only, or draw a position for each key.
REPLAYED = {'PairedRandomCrop', 'ModCrop', 'Crop', 'CenterCropLongEdge', 'RandomCropLongEdge'}
_ANEW_FOR_EACH_KEY = {'Crop', 'RandomCropLongEdge'}
_RANDOM_CROPS = {'PairedRandomCrop', *_ANEW_FOR_EACH_KEY}
# Compute new pixel values out of several: there is no exact counterpart for labels.
INTERPOLATING = {
    'MATLABLikeResize', 'RandomAffine', 'RandomDownSampling', 'RandomResize', 'RandomResizedCrop',
    'RandomRotation', 'Resize',
}  # fmt: skip
# Leave every pixel where it is.
HARMLESS = {
    'Clip', 'ColorJitter', 'CopyValues', 'Normalize', 'RandomBlur', 'RandomJPEGCompression',
    'RandomNoise', 'RescaleToZeroOne', 'SetValues', 'UnsharpMasking',
}  # fmt: skip
_WRAPPERS = {'Compose', 'RandomApply', 'RandomChoice'}
_REWRITTEN = {*BY_KEYS, *REPLAYED, *_WRAPPERS, 'NumpyPad', 'PackInputs'}
_EXTENDING_PADS = {'edge', 'reflect', 'symmetric', 'wrap'}

Transform = Any
Geometric = dict[str, str | bool]


def add_regions_to_pipeline(
    pipeline: Sequence[Transform],
    root: str,
    geometric: Geometric | None = None,
    key: str = 'regions',
    crop: Mapping[str, Any] | None = None,
) -> list[Transform]:
    """Copy a pipeline, with region maps loaded, moved with the images, and packed.

    The map is loaded after the last transform that loads an image. Every later transform must be
    known to leave pixels where they are, or is made to move the map as well; what it does to the
    images does not change, random numbers included. A transform that is unknown is refused: a map
    that silently stays behind would teach the wrong regions.

    Args:
        pipeline: Configurations of transforms; not changed.
        root: Folder of the region cache.
        geometric: What transforms of one's own do, by type: the name of the argument that lists
            the keys, for one that takes any number of keys (``{'MyFlip': 'keys'}``); True for any
            other that moves pixels, which is then run a second time on the map (see
            :class:`CarryRegions`); False for one that moves none. Default: None.
        key: Key of the map. Default: ``'regions'``.
        crop: Arguments of ``RegionCrop``, see :class:`RegionDataset`. Default: None.

    Raises:
        ValueError: If a transform is unknown or interpolates, nothing loads or packs images, or
            there is no random crop to choose among.

    Example:
        >>> pipeline = [dict(type='LoadImageFromFile', key='gt'),
        ...             dict(type='Flip', keys=['gt']), dict(type='PackInputs')]
        >>> for transform in add_regions_to_pipeline(pipeline, 'cache'):
        ...     print(transform)
        {'type': 'LoadImageFromFile', 'key': 'gt'}
        {'type': 'LoadRegionMap', 'root': 'cache', 'key': 'regions'}
        {'type': 'Flip', 'keys': ['gt', 'regions']}
        {'type': 'PackInputs', 'data_keys': ['regions']}
    """
    # 1. There are a place to load the map and a place to pack it.
    pipeline = copy.deepcopy(list(pipeline))
    names = [type_name(transform) for transform in pipeline]
    loaders = [index for index, name in enumerate(names) if name.startswith('Load')]
    if not loaders or not any(name.startswith('Pack') for name in names):
        raise ValueError(
            f'region maps go between a transform that loads images (Load...) and one that packs '
            f'them (PackInputs); the pipeline is {names}'
        )
    if 'LoadRegionMap' in names:
        raise ValueError('the pipeline already loads region maps; use the dataset as it is')
    if crop is not None:
        pipeline = _choose_crop(pipeline, crop)
    # 2. Nothing may have moved by then; all that follows moves the map along.
    first_after = loaders[-1] + 1
    carrier = _Carrier(geometric or {}, key)
    for transform in pipeline[:first_after]:
        if not type_name(transform).startswith('Load') and carrier.carry(transform) != [transform]:
            raise ValueError(
                f'{type_name(transform)} moves pixels before all images are loaded; load them first'
            )
    moved = [carrier.carry(each) for each in pipeline[first_after:]]
    load: dict[str, Any] = {'type': 'LoadRegionMap', 'root': root, 'key': key}
    # 3. Of a map that is cut before anything else looks at it, only the part is decoded.
    looks = (new for each in moved for new in each if type_name(new) not in HARMLESS)
    if _cuts_at_once(next(looks)):
        load['deferred'] = True
    return [*pipeline[:first_after], load, *(new for each in moved for new in each)]


def _cuts_at_once(transform: Transform) -> bool:
    # MMagic's paired crop, whose pass over a list of images asks for nothing but shape and cut.
    return type_name(transform) == 'CarryRegions' and bool(transform.get('as_list'))


def _choose_crop(pipeline: Sequence[Transform], crop: Mapping[str, Any]) -> list[Transform]:
    for index, each in enumerate(pipeline):
        known = isinstance(each, dict) and type_name(each) in _RANDOM_CROPS
        if known and each.get('random_crop', True):
            chosen = {'type': 'RegionCrop', 'transforms': [each], **crop}
            return [*pipeline[:index], chosen, *pipeline[index + 1 :]]
    names = [type_name(transform) for transform in pipeline]
    raise ValueError(
        f'crop={dict(crop)} needs one of {sorted(_RANDOM_CROPS)}, there are only {names}'
    )


def type_name(transform: Transform) -> str:
    """Name of a transform's, dataset's or hook's type without its scope, in whatever form."""
    if not isinstance(transform, Mapping):
        return type(transform).__name__
    kind = transform['type']
    if isinstance(kind, type | FunctionType):
        return kind.__name__
    # Text, or a lazy stand-in, which shows the whole path of what it stands for.
    return str(kind).rpartition('.')[2]


class _Carrier:
    """Replaces a transform by what also moves the region map."""

    def __init__(self, geometric: Geometric, key: str) -> None:
        self.geometric = geometric
        self.key = key

    def carry(self, transform: Transform) -> list[Transform]:
        """One or more transforms instead of one."""
        name, kind = type_name(transform), type(transform)
        if isinstance(transform, Mapping):
            kind = transform['type']
            kind = kind if isinstance(kind, type) else TRANSFORMS.get(name)
        # What the user says counts first.
        if name in self.geometric:
            return self._declared(transform, self.geometric[name])
        # Nothing to do for what leaves the pixels or the images alone.
        if name in HARMLESS or not _touches_images(transform):
            return [transform]
        # Then what the transform says of itself.
        how = getattr(kind, 'geometric', None)
        if how is not None:
            return self._declared(transform, how)
        wraps = getattr(kind, 'wraps', False)
        if (name in _REWRITTEN or wraps) and not isinstance(transform, dict):
            raise ValueError(_no_configuration(name, self.key))
        # Of the rest each kind is rewritten in its own way.
        if name in _WRAPPERS or wraps:
            inner = transform['transforms']
            # Of a choice each alternative is a list of its own.
            each = [self._all(one) for one in inner] if name == 'RandomChoice' else self._all(inner)
            return [{**transform, 'transforms': each}]
        if name == 'PackInputs':
            return [self._with_key(transform, 'data_keys')]
        if name in BY_KEYS:
            return [self._with_key(transform, BY_KEYS[name])]
        if name == 'NumpyPad':
            return self._padded(transform)
        if name in REPLAYED:
            return [self._replayed(transform, name)]
        raise ValueError(_refusal(name, transform))

    def _declared(self, transform: Transform, how: str | bool) -> list[Transform]:
        if isinstance(how, str):
            return [self._with_key(transform, how)]
        if not how:
            return [transform]
        return [{'type': 'CarryRegions', 'transform': transform, 'key': self.key}]

    def _with_key(self, transform: Transform, argument: str) -> Transform:
        if not isinstance(transform, dict):
            raise ValueError(_no_configuration(type_name(transform), self.key))
        return {**transform, argument: [*_as_list(transform.get(argument)), self.key]}

    def _replayed(self, transform: Transform, name: str) -> Transform:
        # What draws once for all keys can be drawn again for the map.
        keys = _image_keys(transform)
        random_position = transform.get('random_crop', True)
        if name in _ANEW_FOR_EACH_KEY and random_position and len(keys) > 1:
            raise ValueError(
                f'{name} draws another position for each of {keys}, so that not even the images '
                f'stay aligned; use PairedRandomCrop'
            )
        carried = {'type': 'CarryRegions', 'transform': transform, 'key': self.key}
        # MMagic's paired crop takes lists of images: one pass for images and map.
        listed = {'as_list': True} if name == 'PairedRandomCrop' else {}
        return {**carried, 'image_keys': keys, **listed}

    def _padded(self, transform: Transform) -> list[Transform]:
        if transform.get('mode') in _EXTENDING_PADS:
            return [self._with_key(transform, 'keys')]
        # Whatever the images are padded with, it is in no region.
        pad = {'type': transform['type'], 'keys': [self.key], 'padding': transform['padding']}
        return [transform, {**pad, 'mode': 'constant'}]

    def _all(self, transforms: Any) -> list[Transform]:
        several = transforms if isinstance(transforms, list | tuple) else [transforms]
        return [new for each in several for new in self.carry(each)]


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _touches_images(transform: Transform) -> bool:
    """False only for a transform that says it works on other keys."""
    if not isinstance(transform, dict) or 'keys' not in transform:
        return True
    if type_name(transform).startswith('Pack'):
        return True
    return not set(IMAGE_KEYS).isdisjoint(_as_list(transform['keys']))


def _image_keys(transform: dict[str, Any]) -> list[str]:
    """Images that a replayed transform works on."""
    if type_name(transform) == 'PairedRandomCrop':
        return [transform.get('gt_key', 'gt'), transform.get('lq_key', 'img')]
    if type_name(transform) == 'ModCrop':
        return [transform.get('key', 'gt')]
    return [name for name in _as_list(transform.get('keys', 'img')) if name in IMAGE_KEYS]


def _no_configuration(name: str, key: str) -> str:
    return (
        f'{name} is in the pipeline as an object; give its configuration, dict(type=...), so that '
        f'{key!r} can go through it as well'
    )


def _refusal(name: str, transform: Transform) -> str:
    if name in INTERPOLATING:
        return (
            f'{name} interpolates, and region labels cannot be interpolated; do that to the files '
            f'beforehand and extract their regions, or compute the regions while training: '
            f"regions=dict(type='SuperpixelRegions')"
        )
    keys = transform.get('keys') if isinstance(transform, dict) else None
    argument = "'keys'" if keys is not None else 'True'
    return (
        f'{name} is unknown: it may move pixels, and then has to move the region map as well. Say '
        f"so in RegionDataset: geometric={{'{name}': {argument}}} if it moves pixels by index "
        f"('keys': its argument that takes any number of keys; True: anything else), or "
        f"geometric={{'{name}': False}} if it leaves them where they are"
    )
