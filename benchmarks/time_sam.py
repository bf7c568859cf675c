"""Time SAM's automatic mask generation: the reference beside the fast generator, in one run.

Every measurement is a process of its own, so that its peak memory is its own. Without a checkpoint
the weights are random, which costs the same as trained ones except for how many masks survive: that
is set by thresholds at quantiles of the predicted scores, for no mask, a typical share of them, and
all. Random masks would be speckled and slow to encode; equal weights within each kernel of the mask
upscaling make them smooth like a trained model's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab.sam_process import CASES, CLOCKS, STAGES, load_image, probe, run_child


def start_child(args: argparse.Namespace, *extra: str) -> dict[str, Any]:
    """Run this file in another process and return what it measured."""
    command = [sys.executable, __file__, *sys.argv[1:], *extra]
    env = {**os.environ, 'OMP_NUM_THREADS': str(args.threads)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=env)
    if done.returncode:
        return {'failed': done.returncode}
    return json.loads(done.stdout.splitlines()[-1])


def count_flops(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Operations of the encoder, and of the tokens of all prompts, counted without computing."""
    from segment_anything import sam_model_registry
    from torch.utils.flop_counter import FlopCounterMode

    from mmsamdistill.fast_sam import decode as fast_sam_decode
    from mmsamdistill.fast_sam import encode as fast_sam_encode
    from mmsamdistill.fast_sam.share import share_image

    with torch.device('meta'), torch.no_grad():
        sam = sam_model_registry[args.model_type]().eval()
        side, channels = sam.image_encoder.img_size, sam.prompt_encoder.embed_dim
        images = torch.empty(1, 3, side, side)
        grid = sam.prompt_encoder.image_embedding_size
        embedding, prompts = torch.empty(1, channels, *grid), torch.empty(1, 2, channels)
        tokens = torch.empty(1, 3 + sam.mask_decoder.num_mask_tokens, channels)
        image = share_image(sam, embedding[0])
        transformer, decoder = sam.mask_decoder.transformer, sam.mask_decoder
        counts = {}
        for name, function in {
            'reference encoder': lambda: sam.image_encoder(images),
            'exact encoder': lambda: fast_sam_encode.encode_images(sam.image_encoder, images),
            'reference tokens': lambda: transformer(embedding, embedding, tokens),
            'exact tokens': lambda: fast_sam_decode.decode_prompts(decoder, image, prompts),
        }.items():
            with FlopCounterMode(display=False) as counter:
                function()
            counts[name] = counter.get_total_flops()
    prompts_per_image = args.points_per_side**2
    return {
        variant: {
            'encoder': counts[f'{variant} encoder'],
            'tokens': counts[f'{variant} tokens'] * prompts_per_image,
        }
        for variant in ('reference', 'exact')
    }


def compare(expected: Path, got: Path) -> str:
    """How far the exact generator's masks are from the reference's."""
    (masks, scores), (other, other_scores) = (
        (file['masks'], file['scores']) for file in map(np.load, (expected, got))
    )
    if len(masks) != len(other):
        return f'NOT EQUAL: {len(masks)} masks and {len(other)}'
    if len(masks) == 0:
        return 'equal: no mask in either'
    different = int((masks != other).sum())
    return (
        f'{len(masks)} masks in the same order; scores differ by at most '
        f'{np.abs(scores - other_scores).max():.1e}; {different} of {masks.size} pixels differ'
    )


def agree(expected: Path, got: Path) -> str:
    """What an inexact generator keeps of the exact masks."""
    from lab.agreement import agreement

    exact, fast = (
        [{'segmentation': mask} for mask in np.load(path)['masks']] for path in (expected, got)
    )
    return ', '.join(f'{name} {value:.4f}' for name, value in agreement(exact, fast).items())


def print_table(results: dict[str, dict], flops: dict[str, dict], peak: float) -> None:
    """One case: a column for each variant, a row for each stage."""
    names = [name for name in results if 'failed' not in results[name]]
    for name in set(results) - set(names):
        print(f'  {name} failed with exit code {results[name]["failed"]}')
    print(f'  {"":24}' + ''.join(f'{name:>22}' for name in names))
    for stage in STAGES:
        row = f'  {stage + " [s]":24}'
        for name in names:
            seconds = results[name]['stages'][stage]
            count = flops.get(name, {}).get(stage)
            limit = f' ({count / peak / seconds:4.0%} of limit)' if count and seconds else ''
            row += f'{seconds:.2f}{limit}'.rjust(22)
        print(row)
    rows = {
        'total [s]': lambda r: f'{r["seconds"]:.2f}',
        'without encoder [s]': lambda r: f'{r["seconds"] - r["stages"]["encoder"]:.2f}',
        'peak memory [MB]': lambda r: f'{r["peak_bytes"] / 2**20:.0f}',
        'masks': lambda r: str(r['masks']),
    }
    for title, show in rows.items():
        print(f'  {title:24}' + ''.join(show(results[name]).rjust(22) for name in names))
    if 'reference' in names:
        print_ratios(results, [name for name in names if name != 'reference'])


def print_ratios(results: dict[str, dict], names: list[str]) -> None:
    """How many times faster than the reference, and what of its memory."""
    reference = results['reference']
    rest = reference['seconds'] - reference['stages']['encoder']
    for name in names:
        got = results[name]
        print(
            f'  {name}: {reference["seconds"] / got["seconds"]:.2f} times as fast '
            f'({rest / (got["seconds"] - got["stages"]["encoder"]):.2f} without the encoder), '
            f'{got["peak_bytes"] / reference["peak_bytes"]:.2f} of the memory'
        )


def print_machine(args: argparse.Namespace, peak: float) -> None:
    """Where and with what it was measured."""
    # Not above, where it would count in the peak memory of every measured process.
    from mmsamdistill.deploy.cost import describe_machine

    print(describe_machine(args.device, 'torchvision'))
    print(
        f'{args.model_type}, {args.checkpoint or "random weights"}, '
        f'{args.points_per_side} x {args.points_per_side} points, {args.clock} time, image '
        f'{load_image(args.image).shape[:2]}; limit: float32 matrix products at '
        f'{peak / 1e9:.0f} GFLOP/s'
    )


def measure(args: argparse.Namespace) -> None:
    """Run every case with every variant, and print."""
    probed = start_child(args, '--child', 'probe')
    if 'failed' in probed:
        raise SystemExit(f'the probe failed with exit code {probed["failed"]}')
    print_machine(args, probed['peak'])
    flops = count_flops(args)
    variants = ['reference', 'exact']
    if args.dtype != 'float32' or args.compile:
        variants.append('inexact')
    for case in args.cases:
        thresholds = probed['cases'][case]
        share, stable = CASES[case]
        print(f'\n{case}: {share:.0%} pass the predicted IoU, {stable:.0%} of these the stability')
        with tempfile.TemporaryDirectory() as folder:
            files = {name: Path(folder, f'{name}.npz') for name in variants}
            results = {}
            for name in variants:
                extra = [f'--thresholds={thresholds[0]},{thresholds[1]}', '--records', files[name]]
                results[name] = start_child(args, '--child', name, *map(str, extra))
            print_table(results, flops, probed['peak'])
            if files['reference'].exists() and files['exact'].exists():
                print(f'  exact against reference: {compare(files["reference"], files["exact"])}')
            if 'inexact' in files and files['inexact'].exists():
                print(f'  inexact against exact: {agree(files["exact"], files["inexact"])}')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model-type', default='vit_b', choices=['vit_b', 'vit_l', 'vit_h'])
    parser.add_argument('--checkpoint', help='weights; random ones without')
    parser.add_argument('--image', help='an image file; a 512 x 512 photograph without')
    parser.add_argument('--points-per-side', type=int, default=32)
    parser.add_argument('--points-per-batch', type=int, default=64)
    parser.add_argument('--stability-offset', type=float, default=0.01, help='for random weights')
    parser.add_argument(
        '--box-nms-thresh', type=float, default=0.7, help='1 keeps duplicates: more to compare'
    )
    parser.add_argument('--cases', nargs='+', default=list(CASES), choices=list(CASES))
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument(
        '--dtype',
        default='float32',
        choices=['float32', 'bfloat16', 'float16'],
        help='another than float32 adds the inexact generator',
    )
    parser.add_argument('--compile', action='store_true', help='adds the inexact generator')
    parser.add_argument(
        '--clock',
        default='wall',
        choices=list(CLOCKS),
        help='cpu, together with --threads 1, where other work shares the machine',
    )
    parser.add_argument('--child', help=argparse.SUPPRESS)
    parser.add_argument('--thresholds', help=argparse.SUPPRESS)
    parser.add_argument('--records', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.thresholds is not None:
        args.thresholds = [float(value) for value in args.thresholds.split(',')]
    return args


def main() -> None:
    """Measure, or be one of the measured processes."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    if args.child is None:
        measure(args)
        return
    print(json.dumps(probe(args) if args.child == 'probe' else run_child(args)))


if __name__ == '__main__':
    main()
