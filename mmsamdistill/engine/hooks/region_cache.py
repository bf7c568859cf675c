"""Refusing to train with the wrong regions."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import HOOKS, MODELS
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmsamdistill.arguments import check_flag
from mmsamdistill.cache.check import TOLERANCE, check_cache, compute_again
from mmsamdistill.cache.store import RegionStore, fitting_command
from mmsamdistill.datasets.region_pipeline import type_name


@HOOKS.register_module()
@dataclass(eq=False, repr=False)
class RegionCacheHook(Hook):
    """Check the region caches of the training data before the first step.

    A cache that was made with other parameters or weights, of other images, or not completely,
    gives a training that runs and means nothing. This hook stops it with a message that says what
    does not fit and which command makes it fit. In a distributed run, the main process looks and
    all of them stop.

    In a configuration, ``expected`` says what matters, in the words of the cache's
    ``regions.json``; neither SAM nor its weights have to be at hand::

        custom_hooks = [dict(type='RegionCacheHook', expected=dict(
            type='SAMRegions', model_type='vit_h',
            checkpoint_sha256='a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e',
            generator=dict(points_per_side=32)))]

    With ``source``, the configuration of the source itself, every parameter and the hash of the
    weights must be the same, and a few maps can be computed again.

    Args:
        expected: Entries that the source's description in ``regions.json`` must have; others may
            be anything. Default: None.
        source: Configuration of the source that must have made the cache. Its weights are read to
            be hashed. Default: None.
        hash_images: Compare the images with those that the maps were made from, by hash. Read are
            those whose size or times are not as the cache remembers them. Default: True.
        spot_check: How many maps of each cache are computed again, on the model's device; needs
            ``source``. Default: 0.
        tolerance: Fraction of pixels that may then be in another region. Default: 0.01.
        seed: Which maps are drawn. Default: 0.

    Raises:
        ValueError: If maps are to be computed without a source; before training, if a cache does
            not fit, or if no cache is used at all.
    """

    priority = 'VERY_HIGH'

    expected: dict[str, Any] | None = None
    source: dict[str, Any] | None = None
    hash_images: bool = True
    spot_check: int = 0
    tolerance: float = TOLERANCE
    seed: int = 0

    def __post_init__(self) -> None:
        check_flag(hash_images=self.hash_images)
        if self.spot_check and self.source is None:
            raise ValueError(
                f'spot_check={self.spot_check} computes maps again: give the source that made '
                "them, source=dict(type='SAMRegions', checkpoint=...)"
            )
        self.place: int | str = 'N'
        """Where the hook is among the config's custom hooks."""

    def before_train(self, runner: Runner) -> None:
        """Check all caches that the training data are read with."""
        hooks = runner.cfg.get('custom_hooks') or []
        kinds = [type_name(hook) for hook in hooks]
        self.place = kinds.index('RegionCacheHook') if 'RegionCacheHook' in kinds else 'N'
        reason: list[Any] = [None]
        if is_main_process():
            # Whatever goes wrong here must not leave the other processes waiting.
            try:
                reason = [self._refusal(runner)]
            except Exception as error:
                reason = [f'{type(error).__name__}: {error}']
        broadcast_object_list(reason)
        if reason[0] is not None:
            raise ValueError(f'RegionCacheHook: {reason[0]}')

    def _refusal(self, runner: Runner) -> str | None:
        caches = _caches_of(runner.train_dataloader.dataset)
        if not caches:
            return (
                'the training data come without cached regions; wrap their dataset in '
                "dict(type='RegionDataset', ...), or remove this hook"
            )
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        device = next(model.parameters()).device
        # What a source draws while it is built is not the run's business.
        with torch.random.fork_rng(devices=[]):
            reasons = [self._check(Path(root), images, device) for root, images in caches.items()]
        return '\n'.join(filter(None, reasons)) or None

    def _check(
        self, root: Path, images: dict[str, tuple[Path, ...]], device: torch.device
    ) -> str | None:
        store = RegionStore(root)
        source = None if self.source is None else MODELS.build(dict(self.source))
        hashes = 'changed' if self.hash_images else 'none'
        fit = check_cache(store, images, self.expected, source, hashes=hashes)
        if fit.ok and self.spot_check:
            how = (self.spot_check, self.tolerance, device, self.seed)
            fit.different = compute_again(store, images, source, *how)
        if fit.ok:
            return None
        # The command repeats what made the cache, but for what is expected otherwise.
        wanted = self.source
        if wanted is None and self.expected is not None:
            made_by = (store.manifest or {}).get('source', {})
            same_type = self.expected.get('type') in (None, made_by.get('type'))
            wanted = _merged(made_by if same_type else {}, self.expected)
        command = fitting_command(store, images, wanted, fit.keeps_maps)
        accept = f'{self._acceptance(store)} ' if fit.differences else ''
        return f'the region cache {root} does not fit: {fit}. {accept}Make it fit by: {command}'

    def _acceptance(self, store: RegionStore) -> str:
        """How to train with a cache that was made otherwise, knowing that."""
        made_by = (store.manifest or {}).get('source', {}).get('type')
        if self.source is None and list(self.expected or {}) == ['type'] and made_by:
            option = f'expected.type={made_by}'
        else:
            option = 'expected=None' if self.source is None else 'source=None'
        return (
            f'To train with it as it is, knowingly: --cfg-options '
            f'custom_hooks.{self.place}.{option}.'
        )


def _caches_of(dataset: Any) -> dict[str, dict[str, tuple[Path, ...]]]:
    """By folder of a cache, the keys that a dataset reads from it with their image files."""
    caches: dict[str, dict[str, tuple[Path, ...]]] = {}
    for leaf, transform in _loaders_of(dataset):
        used = caches.setdefault(str(transform.store.root), {})
        for index in range(len(leaf)):
            info = leaf.get_data_info(index)
            paths = [info.get(name) for name in ('gt_path', 'img_path')]
            files = tuple(Path(path) for path in paths if isinstance(path, str | Path))
            used[_key_of(transform, info)] = files
    return caches


def _loaders_of(dataset: Any) -> Iterator[tuple[Any, Any]]:
    """Every dataset with a transform that loads region maps, and that transform."""
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for each in inner:
        if each is not None:
            yield from _loaders_of(each)
    pipeline = getattr(dataset, 'pipeline', None)
    for transform in getattr(pipeline, 'transforms', ()):
        if isinstance(getattr(transform, 'store', None), RegionStore):
            yield dataset, transform


def _key_of(transform: Any, info: dict[str, Any]) -> str:
    """Key of the map that a transform reads; the likeliest one if there is none."""
    try:
        return transform.find_key(info)
    except FileNotFoundError:
        path = info.get('gt_path') or info.get('img_path')
        return str(info.get('key') or Path(path).stem)


def _merged(base: Any, changes: Any) -> Any:
    """Nested dictionaries, the second one's entries over the first one's."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return {**base, **{name: _merged(base.get(name), item) for name, item in changes.items()}}
