"""What ``time_regions.py`` reads: a training set, synthetic without one, and two caches."""

import argparse
import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# First, since it makes MMagic importable; the forks of MMCV need that.
import mmsamdistill  # noqa: F401

# isort: split
import cv2
import numpy as np
import torch
from mmagic.registry import DATASETS
from mmengine.config import Config

from mmsamdistill.cache.map_file import compact_for_storage, write_map
from mmsamdistill.datasets.region_pipeline import type_name
from mmsamdistill.sources import SuperpixelRegions

DEMO = Path(__file__).parents[2] / 'configs/demo/nafnet_denoise.py'


def write_images(folder: Path, size: tuple[int, int], count: int) -> None:
    """Write synthetic photographs: smooth shades, hard edges and noise, which PNG cannot shrink."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    height, width = size
    for index in range(count):
        coarse = generator.integers(30, 226, (6, 8, 3)).astype(np.float32)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(60):
            center = int(generator.integers(width)), int(generator.integers(height))
            radius = int(generator.integers(2, max(3, min(size) // 6)))
            cv2.circle(image, center, radius, generator.integers(0, 256, 3).tolist(), -1)
        image += generator.normal(0, 3, image.shape)
        cv2.imwrite(str(folder / f'{index:04}.png'), image.clip(0, 255).astype(np.uint8))


@contextmanager
def prepared(args: argparse.Namespace) -> Iterator[tuple[Config, dict[str, Any], dict[str, str]]]:
    """The configuration, its plain training data cut to the samples, and caches of these."""
    cfg = Config.fromfile(args.config or DEMO)
    cfg.merge_from_dict(args.cfg_options or {})
    dataset = cfg.train_dataloader.dataset.to_dict()
    if type_name(dataset) == 'RegionDataset':
        dataset = dataset['dataset']
    with tempfile.TemporaryDirectory() as folder:
        if args.config is None or args.synthetic:
            dataset.update(data_root=f'{folder}/data', metainfo=None)
            for name in set(dataset['data_prefix'].values()):
                write_images(Path(folder, 'data', name), tuple(args.image_size), args.samples)
        dataset['indices'] = args.samples
        caches = {'superpixels': f'{folder}/superpixels', 'ellipses': f'{folder}/ellipses'}
        plain = DATASETS.build(copy.deepcopy(dataset))
        write_cache(plain, Path(caches['superpixels']), superpixels)
        write_cache(plain, Path(caches['ellipses']), ellipses)
        yield cfg, dataset, caches


def write_cache(dataset: Any, root: Path, find: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write regions of a dataset's images as a cache."""
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        labels = find(cv2.imread(info.get('gt_path') or info['img_path'])[..., ::-1])
        write_map(root / f'{info["key"]}.png', compact_for_storage(labels), {})


def superpixels(pixels: np.ndarray) -> np.ndarray:
    """Regions of colour alone."""
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    return SuperpixelRegions()(image)[0].numpy()


def ellipses(pixels: np.ndarray, count: int = 100) -> np.ndarray:
    """As many regions as SAM finds, painted large to small, with nothing to do with the image."""
    generator = np.random.default_rng(0)
    height, width = pixels.shape[:2]
    labels = np.zeros((height, width), np.uint16)
    for index in range(count):
        center = int(generator.integers(width)), int(generator.integers(height))
        scale = (1 - index / count) ** 2 / 6
        axes = tuple(int(4 + scale * side) for side in (width, height))
        cv2.ellipse(labels, center, axes, int(generator.integers(180)), 0, 360, index + 1, -1)
    return labels
