"""Measure what regions cost a training: reading cached ones, and computing them in every step.

Three tables from one run. What a source takes for a megapixel. The data pipeline of the plain
restorer, per sample, without and with cached regions: each sample is loaded in every way in turns,
its best processor time counts, and times are means over the samples. Two caches are read:
superpixels, thousands in an image, and a hundred overlapping ellipses, as many as SAM finds. And a
training step without a cascade, with cached regions, with superpixels and, if asked for, with SAM
on the restored images. Without a configuration, the demo's small NAFNet and synthetic images in a
temporary folder are used.
"""

import argparse
import copy
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# First, since it makes MMagic importable; the forks of MMCV need that.
import mmsamdistill  # noqa: F401

# isort: split
import cv2
import numpy as np
import torch
from mmagic.registry import DATASETS, MODELS
from mmengine.config import Config, DictAction
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from torch import nn

from lab.regions_data import DEMO, prepared
from mmsamdistill.cache.map_file import MapFile
from mmsamdistill.datasets.region_dataset import add_regions_to_config
from mmsamdistill.deploy.cost import describe_machine, time_side_by_side
from mmsamdistill.deploy.export import is_distilled, plain_config
from mmsamdistill.evaluation.report import to_markdown
from mmsamdistill.sources import (
    LearnedEdgeRegions,
    RegionSource,
    SAMRegions,
    SuperpixelRegions,
)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='?', help='a plain or distilled config and its data')
    parser.add_argument(
        '--synthetic', action='store_true', help="the config's pipeline, but synthetic images"
    )
    parser.add_argument(
        '--image-size',
        type=int,
        nargs=2,
        default=(720, 1280),
        metavar=('H', 'W'),
        help='pixels of the synthetic images, default: 720 1280, as of GoPro',
    )
    parser.add_argument('--samples', type=int, default=16, help='samples, default: 16')
    parser.add_argument('--repeats', type=int, default=5, help='times for each, default: 5')
    parser.add_argument('--batch-size', type=int, default=4, help='of the steps, default: 4')
    parser.add_argument('--steps', type=int, default=5, help='timed steps, default: 5')
    parser.add_argument('--sam-steps', type=int, default=1, help='with SAM, default: 1')
    parser.add_argument('--points-per-side', type=int, default=16, help='of SAM, default: 16')
    sam = parser.add_mutually_exclusive_group()
    sam.add_argument('--checkpoint', help='weights of a SAM, to measure it in the step')
    sam.add_argument('--random-vit-b', action='store_true', help='ViT-B with random weights')
    sam.add_argument('--tiny', action='store_true', help='a toy of the real classes')
    parser.add_argument('--model-type', default='vit_b', help='of --checkpoint, default: vit_b')
    parser.add_argument('--device', default='cpu', help='of the steps, default: cpu')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override the config')
    return parser.parse_args(arguments)


def time_pipelines(datasets: Sequence[Any], count: int, repeats: int) -> list[float]:
    """Mean over the samples of the best processor time of each, for several datasets in turns."""
    best = np.full((len(datasets), count), np.inf)
    for _ in range(repeats + 1):
        for index in range(count):
            for which, dataset in enumerate(datasets):
                start = time.thread_time()
                dataset[index % len(dataset)]
                seconds = time.thread_time() - start
                best[which, index] = min(best[which, index], seconds)
    return best.mean(axis=1).tolist()


def measure_reading(
    args: argparse.Namespace, dataset: dict[str, Any], caches: dict[str, str]
) -> list[dict[str, Any]]:
    """Rows of the table of the data pipeline."""
    plain = DATASETS.build(copy.deepcopy(dataset))
    cached = [DATASETS.build(add_regions_to_config(dataset, root)) for root in caches.values()]
    times = time_pipelines([plain, *cached], args.samples, args.repeats)
    info = [plain.get_data_info(index) for index in range(len(plain))]
    images = [Path(each[name]) for each in info for name in ('gt_path', 'img_path') if name in each]
    rows = [('without regions', times[0], '', _mean_size(images, len(info)))]
    for (name, root), seconds in zip(caches.items(), times[1:], strict=True):
        maps = list(Path(root).rglob('*.png'))
        count = np.mean([MapFile(path).read().max() for path in maps])
        rows.append((f'cached {name}', seconds, f'{count:.0f}', _mean_size(maps, len(maps))))
    return [
        {
            'data pipeline': name,
            'ms per sample': f'{1e3 * seconds:.3f}',
            'added': f'{100 * (seconds / times[0] - 1):.1f} %',
            'regions per image': count,
            'bytes per image': f'{size:,.0f}',
        }
        for name, seconds, count, size in rows
    ]


def _mean_size(paths: list[Path], count: int) -> float:
    return sum(path.stat().st_size for path in paths) / count


def build_tiny_sam() -> nn.Module:
    """A SAM of the real classes that computes next to nothing."""
    from segment_anything import modeling as parts

    encoder = parts.ImageEncoderViT(64, 16, 3, 16, 1, 2, out_chans=16)
    prompts = parts.PromptEncoder(16, (4, 4), (64, 64), 4)
    transformer = parts.TwoWayTransformer(1, 16, 2, 16)
    decoder = parts.MaskDecoder(transformer_dim=16, transformer=transformer)
    return parts.Sam(encoder, prompts, decoder)


def sam_sources(args: argparse.Namespace) -> dict[str, nn.Module]:
    """SAM as it is asked for; of random weights the two extremes, since no mask is typical."""
    options = {
        'points_per_side': args.points_per_side,
        'images_per_batch': args.batch_size,
    }
    if args.checkpoint:
        source = SAMRegions(
            args.model_type, args.checkpoint, generator=options, generator_type='fast'
        )
        return {f'SAM {args.model_type}, {Path(args.checkpoint).name}': source}
    if not (args.tiny or args.random_vit_b):
        return {}
    builder = build_tiny_sam if args.tiny else 'segment_anything.build_sam.build_sam_vit_b'
    name = 'toy SAM' if args.tiny else 'SAM vit_b'
    cases = {
        'no mask survives': {'pred_iou_thresh': 1e9},
        'all masks survive': {
            'pred_iou_thresh': -1e9,
            'stability_score_thresh': 0.0,
            'box_nms_thresh': 2.0,
        },
    }
    return {
        f'{name}, random weights, {case}': SAMRegions(
            builder=builder, generator={**options, **thresholds}, generator_type='fast'
        )
        for case, thresholds in cases.items()
    }


def measure_sources(size: tuple[int, int], device: str, repeats: int) -> list[dict[str, Any]]:
    """Rows of the table of what a source takes for one image, per megapixel."""
    sources: dict[str, RegionSource] = {'superpixels': SuperpixelRegions()}
    edges = learned_edges()
    if edges is not None:
        sources['learned edges'] = edges
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 24, 40), size, mode='bicubic')
    image = (image + 0.05 * torch.randn(1, 3, *size)).clamp(0, 1).to(device)
    calls = [functools.partial(source, image) for source in sources.values()]
    megapixels = size[0] * size[1] / 1e6
    return [
        {'source': name, 's per megapixel': f'{seconds / megapixels:.2f}'}
        for name, seconds in zip(sources, time_side_by_side(calls, repeats), strict=True)
    ]


def learned_edges() -> RegionSource | None:
    """The learned edges with their weights, if they can be measured here."""
    edges = LearnedEdgeRegions()
    try:
        edges.prepare('cpu')
    except (FileNotFoundError, ImportError):
        return None
    return edges


def measure_steps(
    args: argparse.Namespace, cfg: Config, dataset: dict[str, Any], root: str
) -> list[dict[str, Any]]:
    """Rows of the table of the training step."""
    data = DATASETS.build(add_regions_to_config(dataset, root))
    batch = pseudo_collate([data[index % len(data)] for index in range(args.batch_size)])
    plain, cascade = build_models(cfg, args.device)
    sources = {
        'plain restorer': None,
        'cached regions': MODELS.build({'type': 'CachedRegions'}),
        'superpixels in every step': SuperpixelRegions(),
    }
    steps = {
        name: training_step(cascade if each else plain, each, batch)
        for name, each in sources.items()
    }
    seconds = time_side_by_side(list(steps.values()), args.steps)
    cached = seconds[1]
    rows = [(name, value, value / cached) for name, value in zip(steps, seconds, strict=True)]
    for name, source in sam_sources(args).items():
        step = training_step(cascade, source.to(args.device), batch)
        # In turns with the cached one, since a machine's speed changes over minutes.
        reference, value = time_side_by_side([steps['cached regions'], step], args.sam_steps, 1)
        rows.append((f'{name}, {args.points_per_side} points per side', value, value / reference))
    return [
        {'training step': name, 'ms': f'{1e3 * value:.1f}', 'ratio to cached': f'{ratio:.2f}'}
        for name, value, ratio in rows
    ]


def build_models(cfg: Config, device: str) -> tuple[nn.Module, nn.Module]:
    """The plain restorer and the cascade around it, VGG with random weights."""
    plain = plain_config(cfg).model.to_dict()
    analyzer = {'type': 'VGGAnalyzer', 'weights': 'random'}
    cascade = {'type': 'SAMDistillRestorer', 'restorer': plain, 'analyzer': analyzer}
    if is_distilled(cfg):
        cascade = cfg.model.to_dict()
    return MODELS.build(copy.deepcopy(plain)).to(device), MODELS.build(cascade).to(device)


def training_step(model: nn.Module, source: nn.Module | None, batch: dict[str, Any]) -> Any:
    """One step of training with regions from a source, by AdamW whatever the configuration says."""
    model.train()
    optimizer = OptimWrapper(
        torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-6)
    )

    def step() -> None:
        if source is not None:
            model.regions = source
        # The preprocessor writes into the samples that it is given.
        model.train_step(copy.deepcopy(batch), optimizer)

    return step


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare, measure, print."""
    args = parse_args(arguments)
    if min(*args.image_size, args.samples, args.repeats, args.batch_size, args.steps) < 1:
        raise SystemExit('sizes, counts and repetitions must be at least 1')
    init_default_scope('mmagic')
    torch.manual_seed(0)
    # As the workers of a data loader do.
    cv2.setNumThreads(1)
    with prepared(args) as (cfg, dataset, caches):
        data = Path(args.config or DEMO).name
        if args.config is None or args.synthetic:
            data += f', synthetic images of {args.image_size[0]} x {args.image_size[1]}'
        print(f'{data}; {args.samples} samples, best of {args.repeats}')
        opencv = f'OpenCV {cv2.__version__}, {cv2.getNumThreads()} of its threads'
        print(f'{describe_machine(args.device)}, {opencv}\n')
        print(to_markdown(measure_sources(tuple(args.image_size), args.device, args.repeats)))
        print('\n' + to_markdown(measure_reading(args, dataset, caches)) + '\n')
        print(f'batches of {args.batch_size}, median of {args.steps}; VGG with random weights')
        print('\n' + to_markdown(measure_steps(args, cfg, dataset, caches['ellipses'])))


if __name__ == '__main__':
    main()
