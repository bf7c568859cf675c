"""Draw a region cache: overlays on some images, and statistics of all of its maps."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmsamdistill_command import add_debug


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', help='folder of the images')
    parser.add_argument('cache', help='folder of the region maps')
    parser.add_argument('out', type=Path, help='folder for overlays.png and statistics.png')
    parser.add_argument('--keys', nargs='+', help='images to draw: relative paths without suffix')
    parser.add_argument('--count', type=int, default=4, help='how many to draw without --keys')
    add_debug(parser)
    return parser.parse_args(arguments)


if __name__ == '__main__':  # before anything heavy is imported, so that help costs nothing
    parse_args()

import numpy as np
import torch
from tqdm import tqdm

import mmsamdistill  # noqa: F401  (makes MMagic importable)
from mmsamdistill.cache.store import RegionStore
from mmsamdistill.command_line import UsageError, check_output, run
from mmsamdistill.images import decode_image, find_images
from mmsamdistill.images.finding import check_beside
from mmsamdistill.regions import RegionMap

BOUNDARY = np.array([255, 235, 0], np.uint8)


class Statistics(NamedTuple):
    """Figures of a cache, one entry for each map, and for each region in `sizes`."""

    regions: np.ndarray  # number of regions
    coverage: np.ndarray  # share of pixels that are in a region, 0..1
    sizes: np.ndarray  # pixels in the region


def choose(keys: list[str], count: int) -> list[str]:
    """Choose keys evenly over the whole cache."""
    places = np.linspace(0, len(keys) - 1, min(count, len(keys)))
    return [keys[round(place)] for place in places]


def colour(labels: np.ndarray) -> np.ndarray:
    """Give every region a colour that differs from that of its likely neighbours; 0 is black."""
    # Multiples of the golden ratio, modulo 1, never come close to one another soon.
    hue = (np.arange(labels.max() + 1) * 0.61803398875) % 1.0
    phases = 2 * np.pi * (hue[:, None] + np.array([0, 1 / 3, 2 / 3]))
    table = np.rint(127.5 + 127.5 * np.cos(phases)).astype(np.uint8)
    table[0] = 0
    return table[labels]


def with_boundaries(rgb: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mark the pixels whose neighbour is in another region."""
    boundaries = RegionMap.from_labels(torch.from_numpy(labels)[None]).boundaries()[0, 0].numpy()
    return np.where(boundaries[..., None], BOUNDARY, rgb)


def overlay(rgb: np.ndarray, labels: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """Colour the regions; what is in no region is darkened."""
    mixed = (1 - strength) * rgb + strength * colour(labels)
    return np.rint(mixed).astype(np.uint8)


def measure(maps: Iterable[np.ndarray]) -> Statistics:
    """Count regions and pixels of all maps."""
    regions, coverage, sizes = [], [], []
    for labels in maps:
        counts = np.bincount(labels.ravel(), minlength=1)
        present = counts[1:][counts[1:] > 0]
        regions.append(len(present))
        coverage.append(present.sum() / labels.size)
        sizes.append(present)
    return Statistics(np.array(regions), np.array(coverage), np.concatenate(sizes))


def plotting() -> Any:
    """Import matplotlib without a display."""
    import matplotlib as mpl

    mpl.use('Agg')
    from matplotlib import pyplot

    return pyplot


def draw_overlays(shown: list[tuple[str, np.ndarray, np.ndarray]], out: Path) -> None:
    """Draw a row for each image: itself, with boundaries, with coloured regions."""
    pyplot = plotting()
    titles = ('image', 'boundaries', 'regions')
    heights = [3 * rgb.shape[0] / rgb.shape[1] * 1.35 for _, rgb, _ in shown]
    figure, axes = pyplot.subplots(
        len(shown),
        len(titles),
        figsize=(4 * len(titles), sum(heights) + 0.4 * len(shown)),
        squeeze=False,
        gridspec_kw={'height_ratios': heights},
        layout='constrained',
    )
    for row, (key, rgb, labels) in zip(axes, shown, strict=True):
        panels = (rgb, with_boundaries(rgb, labels), overlay(rgb, labels))
        names = (key, titles[1], f'{len(np.unique(labels[labels > 0]))} {titles[2]}')
        for axis, panel, name in zip(row, panels, names, strict=True):
            axis.imshow(panel, interpolation='nearest')
            axis.set_title(name, fontsize=9)
            axis.set_axis_off()
    figure.savefig(out, dpi=120)
    pyplot.close(figure)


def draw_statistics(found: Statistics, out: Path) -> None:
    """Draw how many regions the images have, how large these are and how much they cover."""
    pyplot = plotting()
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.4), layout='constrained')
    axes[0].hist(found.regions, bins=30)
    axes[0].set(xlabel='regions', ylabel='images')
    axes[0].set_title(f'regions per image: median {np.median(found.regions):.0f}', fontsize=10)
    axes[1].hist(100 * found.coverage, bins=np.linspace(0, 100, 41))
    axes[1].set(xlabel='pixels in a region [%]', ylabel='images')
    axes[1].set_title(f'coverage: mean {100 * found.coverage.mean():.1f} %', fontsize=10)
    if found.sizes.size:
        axes[2].hist(found.sizes, bins=np.geomspace(1, found.sizes.max() + 1, 40))
        median = np.median(found.sizes)
        axes[2].set_title(f'size of a region: median {median:.0f} pixels', fontsize=10)
    axes[2].set(xscale='log', xlabel='pixels', ylabel='regions')
    figure.suptitle(f'{len(found.regions)} maps, {found.sizes.size} regions', fontsize=11)
    figure.savefig(out, dpi=120)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw both figures."""
    args = parse_args(arguments)
    check_output('OUT', args.out, folder=True)
    check_beside(args.out, [args.images, args.cache])
    store, images = RegionStore(args.cache), find_images(args.images).files
    cached = store.keys()
    keys = [key for key in cached if key in images]
    unknown = sorted(set(args.keys or []) - set(keys))
    if unknown or not keys:
        what = f'for {", ".join(unknown)}' if unknown else f'of any image of {args.images}'
        raise UsageError(f'{args.cache} holds no region map {what}')
    if args.count < 1:
        raise UsageError(f'--count {args.count}: nothing would be drawn')
    args.out.mkdir(parents=True, exist_ok=True)
    shown = [
        (key, decode_image(images[key].read_bytes(), images[key]), store.read(key))
        for key in args.keys or choose(keys, args.count)
    ]
    draw_overlays(shown, args.out / 'overlays.png')
    maps = (store.read(key) for key in tqdm(keys, unit='map', dynamic_ncols=True))
    draw_statistics(measure(maps), args.out / 'statistics.png')
    print(f'{args.out / "overlays.png"}\n{args.out / "statistics.png"}')
    return 0


if __name__ == '__main__':
    run(main)
