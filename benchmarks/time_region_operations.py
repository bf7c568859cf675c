"""Measure the region map's pool and broadcast beside the usual ways to do the same.

Every pixel gets the mean of its region: 'region map' is this package, made from the labels each
time, 'ready map' the same without the making. 'one-hot' multiplies with an (N, K, H, W) tensor,
'loop' goes over the regions with boolean indices, 'mask averaging' adds up mask by mask on the
whole image. All ways run in turns, the best of several times counts, and their results are compared
first. What would need more memory than --gigabytes, or far longer than the rest, is left out ('-').

    python benchmarks/time_region_operations.py --sizes 256 512 --backward
"""

import argparse
import time
from collections.abc import Callable, Sequence

# First, since it makes MMagic importable; the forks of MMCV need that.
import mmsamdistill  # noqa: F401

# isort: split
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mmsamdistill.deploy.cost import describe_machine
from mmsamdistill.evaluation.report import to_markdown
from mmsamdistill.regions import RegionMap

# A loop over more regions than this is not waited for.
MOST_LOOPED = 600


def region_map(labels: Tensor, x: Tensor) -> Tensor:
    """Ours, the map made from the labels."""
    regions = RegionMap.from_labels(labels)
    return regions.broadcast(regions.pool(x))


def with_one_hot(labels: Tensor, x: Tensor) -> Tensor:
    """Multiply by the membership of every pixel in every region, dense."""
    member = one_hot(labels, int(labels.max()) + 1)[..., 1:].to(x.dtype)
    sums = torch.einsum('nhwk,nchw->nkc', member, x)
    means = sums / member.sum((1, 2)).clamp(min=1)[..., None]
    return torch.einsum('nhwk,nkc->nchw', member, means)


def with_loop(labels: Tensor, x: Tensor) -> Tensor:
    """Go over the regions of each image."""
    result = torch.zeros_like(x)
    for image in range(len(labels)):
        for label in labels[image].unique().tolist():
            if label:
                inside = labels[image] == label
                result[image, :, inside] = x[image, :, inside].mean(1, keepdim=True)
    return result


def with_masks(labels: Tensor, x: Tensor) -> Tensor:
    """Average over each mask and add it back, mask by mask over the whole image."""
    result = torch.zeros_like(x)
    for label in range(1, int(labels.max()) + 1):
        mask = (labels == label)[:, None].to(x.dtype)
        means = (x * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1)
        result = result + means * mask
    return result


def grid_of_regions(batch: int, size: int, count: int, device: str) -> Tensor:
    """Label maps of about ``count`` rectangles each, as square as they can be."""
    rows = max(1, round(count**0.5))
    columns = max(1, round(count / rows))
    row = torch.arange(size) * rows // size
    column = torch.arange(size) * columns // size
    labels = row[:, None] * columns + column + 1
    return labels.expand(batch, -1, -1).contiguous().to(device)


def best_times(
    ways: dict[str, Callable[[], Tensor]], repeats: int, device: torch.device
) -> dict[str, float]:
    """Milliseconds of each way: the best of ``repeats`` rounds, in turns, after one to warm up."""
    best = dict.fromkeys(ways, float('inf'))
    for turn in range(repeats + 1):
        for name, way in ways.items():
            _wait(device)
            start = time.perf_counter()
            way()
            _wait(device)
            if turn:
                best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def measure(args: argparse.Namespace, size: int, count: int) -> dict[str, str]:
    """One row of the table."""
    labels = grid_of_regions(args.batch_size, size, count, args.device)
    count = int(labels.max())
    x = torch.randn(args.batch_size, args.channels, size, size, device=args.device)
    x.requires_grad_(args.backward)
    ready = RegionMap.from_labels(labels)
    ways = {'region map': region_map, 'ready map': lambda _, x: ready.broadcast(ready.pool(x))}
    # The one-hot tensor exists as integers and as floats.
    if 12 * labels.numel() * count <= args.gigabytes * 2**30:
        ways['one-hot'] = with_one_hot
    if count <= MOST_LOOPED:
        ways |= {'loop': with_loop, 'mask averaging': with_masks}

    expected = region_map(labels, x)
    for way in ways.values():
        torch.testing.assert_close(way(labels, x), expected, rtol=1e-3, atol=1e-4)

    def step(way: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        if not args.backward:
            return way(labels, x)
        x.grad = None
        result = way(labels, x)
        result.sum().backward()
        return result

    times = best_times(
        {name: lambda way=way: step(way) for name, way in ways.items()}, args.repeats, x.device
    )
    ours = times['region map']
    row = {'size': f'{size}x{size}', 'regions': f'{count:,}', 'region map, ms': f'{ours:.1f}'}
    row['ready map, ms'] = f'{times["ready map"]:.1f}'
    for name in ('one-hot', 'loop', 'mask averaging'):
        row[name] = f'{times[name] / ours:.1f} times' if name in times else '-'
    return row


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--sizes', type=int, nargs='+', default=[256, 512, 1024])
    parser.add_argument('--regions', type=int, nargs='+', default=[1, 8, 64, 512, 4000])
    parser.add_argument('--batch-size', type=int, default=1, help='images, default: 1')
    parser.add_argument('--channels', type=int, default=32, help='of the features, default: 32')
    parser.add_argument('--backward', action='store_true', help='with the backward pass')
    parser.add_argument('--repeats', type=int, default=5, help='rounds, default: 5')
    parser.add_argument('--gigabytes', type=float, default=4, help='for one-hot, default: 4')
    parser.add_argument('--threads', type=int, default=1, help='of a CPU, default: 1')
    parser.add_argument('--device', default='cpu', help='default: cpu')
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    args = parse_args(arguments)
    torch.set_num_threads(args.threads)
    rows = [measure(args, size, count) for size in args.sizes for count in args.regions]
    passes = 'forward and backward' if args.backward else 'forward'
    print(
        f'{args.batch_size} x {args.channels} channels, {passes}; other ways: times the region map'
    )
    print(to_markdown(rows), end='\n\n')
    print(describe_machine(args.device))


if __name__ == '__main__':
    main()
