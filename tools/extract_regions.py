"""Compute the region maps of a folder of images once, so that training only has to read them."""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from mmsamdistill_command import add_config_options

SOURCES = {
    'superpixel': 'SuperpixelRegions',
    'edges': 'LearnedEdgeRegions',
    'sam': 'SAMRegions',
    'transformers': 'TransformersRegions',
}


def parse_shard(text: str) -> tuple[int, int]:
    """Read ``I/N``."""
    try:
        index, count = (int(part) for part in text.split('/'))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is not I/N, e.g. 0/4') from None
    if not 0 <= index < count:
        raise argparse.ArgumentTypeError(f'I of I/N lies in 0..N-1, got {text}')
    return index, count


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='A run that was killed is resumed by the same command. Images are found in '
        'sub-folders too. The exit code is 1 if any image failed.',
    )
    parser.add_argument('images', help='folder of images')
    parser.add_argument('out', help='folder of the cache: one PNG per image, and regions.json')
    parser.add_argument(
        '--source',
        required=True,
        help=f'{", ".join(SOURCES)}, or the name of a registered region source',
    )
    parser.add_argument('--checkpoint', help="path or URL of the source's weights")
    parser.add_argument('--model-type', help='which SAM the weights are of: vit_b, vit_l, vit_h')
    parser.add_argument(
        '--shard',
        type=parse_shard,
        metavar='I/N',
        help='do the I-th of N shares only, I from 0; run all N in parallel, on any machines '
        '(default under torchrun: a share for each process, else everything)',
    )
    parser.add_argument(
        '--overwrite', action='store_true', default=None, help='compute everything again'
    )
    parser.add_argument(
        '--masks', action='store_true', default=None, help='also write full masks as COCO RLE'
    )
    parser.add_argument('--device', help='where to compute (default: a GPU if there is one)')
    parser.add_argument('--import', dest='module', help='module that registers the source')
    parser.add_argument(
        '--verify',
        type=int,
        metavar='COUNT',
        help='write nothing: check every map of the cache, and compute COUNT of them again',
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        help='fraction of pixels that may be in another region when a map is computed again, since '
        'networks round differently on other devices (default: 0.01)',
    )
    add_config_options(parser, 'arguments of the source, such as generator.points_per_side=16')
    return parser.parse_args(arguments)


if __name__ == '__main__':  # before anything heavy is imported, so that help costs nothing
    parse_args()

# First, since it makes MMagic importable; the forks of MMCV need that.
import mmsamdistill  # noqa: F401

# isort: split
import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from tqdm import tqdm

from mmsamdistill.cache.check import verify
from mmsamdistill.cache.extract import extract
from mmsamdistill.command_line import UsageError, check_output, read_options, run
from mmsamdistill.sources import RegionSource


def rank_of_torchrun() -> tuple[int, int] | None:
    """Share of this process if torchrun started it: ``torchrun --nproc_per_node=8 ...``."""
    if 'RANK' not in os.environ or 'WORLD_SIZE' not in os.environ:
        return None
    return int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])


def own_gpu() -> str | None:
    """GPU of this process, None where there is none."""
    if not torch.cuda.is_available():
        return None
    return f'cuda:{int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()}'


def build_source(args: argparse.Namespace) -> RegionSource:
    """Build the region source that the command line describes."""
    config = Config({'type': SOURCES.get(args.source, args.source)})
    given = {'checkpoint': args.checkpoint, 'model_type': args.model_type}
    config.merge_from_dict({name: value for name, value in given.items() if value is not None})
    config.merge_from_dict(read_options(args.cfg_options))
    # Only looked up here, so that a wrong name is told from a wrong argument.
    if config.type not in MODELS.module_dict:
        raise UsageError(
            f'unknown region source {args.source!r}; choose from {sorted(SOURCES)} or register '
            f'one and name its module by --import'
        )
    return MODELS.build(config.to_dict())


def show_progress(keys: Sequence[str], title: str) -> Iterable[str]:
    """Show throughput and remaining time."""
    return tqdm(keys, desc=title, unit='image', dynamic_ncols=True, disable=not keys)


def given_options(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Options that were given: the others have their defaults in the library."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def run_verification(args: argparse.Namespace, source: RegionSource) -> int:
    """Check a cache and say what is wrong with it."""
    options = given_options(args, 'device', 'tolerance')
    report = verify(args.images, args.out, source, args.verify, **options)
    print(report)
    return 0 if report.ok else 1


def run_extraction(args: argparse.Namespace, source: RegionSource) -> int:
    """Write the cache and say what failed."""
    options = given_options(args, 'shard', 'overwrite', 'masks', 'device')
    report = extract(args.images, args.out, source, track=show_progress, **options)
    print(
        f'{len(report.written)} written, {report.skipped} were there, {len(report.failed)} failed: '
        f'{args.out}'
    )
    if report.remark:
        print(f'{args.images}: {report.remark}')
    for path, reason in report.failed.items():
        print(f'FAILED {path}: {reason}', file=sys.stderr)
    return 1 if report.failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Extract or verify."""
    args = parse_args(arguments)
    args.shard = args.shard or rank_of_torchrun()
    args.device = args.device or own_gpu()
    if args.module is not None:
        __import__(args.module)
    if args.verify is None:
        check_output('OUT', args.out, folder=True)
    source = build_source(args)
    return (run_extraction if args.verify is None else run_verification)(args, source)


if __name__ == '__main__':
    run(main, failed=2)
