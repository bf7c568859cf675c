"""Measure how the cost of a distilled step grows with patch, batch, regions and restorer.

One quantity changes at a time, the others stay at the first value of their list. Plain and
distilled step run in turns in one process; the figure shows both times and their ratio.

    python benchmarks/cost_growth.py CONFIG --figure growth.png
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# First, since it makes MMagic importable; the forks of MMCV need that.
import mmsamdistill  # noqa: F401

# isort: split
import torch
from mmengine.config import Config

from mmsamdistill.command_line import check_output, run
from mmsamdistill.deploy.cost import describe_machine, peak_memory, time_in_turns
from mmsamdistill.deploy.cost_by_part import training_step
from mmsamdistill.deploy.export import build_model, is_distilled, plain_config
from mmsamdistill.evaluation.report import to_markdown


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='a distilled config of a restorer with mid_channels')
    parser.add_argument('--patch', type=int, nargs='+', default=[64, 128, 192, 256])
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 2, 4, 8])
    parser.add_argument(
        '--grid', type=int, nargs='+', default=[4, 1, 16, 32], help='regions are its square'
    )
    parser.add_argument('--width', type=int, nargs='+', default=[16, 32, 64])
    parser.add_argument('--steps', type=int, default=5, help='timed repetitions, default: 5')
    parser.add_argument('--threads', type=int, default=1, help='of a CPU, default: 1')
    parser.add_argument('--device', default='cpu', help='default: cpu')
    parser.add_argument(
        '--clock',
        default='wall',
        choices=['wall', 'cpu'],
        help='cpu, with one thread, where other work shares the machine',
    )
    parser.add_argument('--figure', type=Path, help='draw it: png, pdf or svg')
    return parser.parse_args(arguments)


def measure(
    cfg: Config, point: dict[str, int], args: argparse.Namespace, device: torch.device
) -> dict[str, Any]:
    """One row: times and peak memory of both steps where one quantity has another value."""
    cfg = Config(cfg._cfg_dict.to_dict())
    cfg.merge_from_dict(
        {
            'model.restorer.generator.mid_channels': point['width'],
            'model.regions': {'_delete_': True, 'type': 'CachedRegions'},
        }
    )
    shape = (point['patch'], point['patch'])
    both = []
    for each in (plain_config(cfg), cfg):
        model = build_model(each).to(device)
        both.append(training_step(model, shape, device, point['batch'], point['grid'])[0])
    clock = time.process_time if args.clock == 'cpu' else None
    timed = time_in_turns(both, args.steps, clock=clock)
    plain, distilled = (statistics.median(times) for times in timed)
    memory = [peak_memory(step, device) / 2**20 for step in both]
    return {
        **{name: value**2 if name == 'grid' else value for name, value in point.items()},
        'plain, ms': 1e3 * plain,
        'distilled, ms': 1e3 * distilled,
        'time ratio': distilled / plain,
        'plain, MiB': memory[0],
        'distilled, MiB': memory[1],
        'memory ratio': memory[1] / memory[0],
    }


def draw(rows: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw a panel a quantity: both times, and the ratio on an axis of its own."""
    from matplotlib.figure import Figure

    titles = {'patch': 'patch, pixels', 'batch': 'images a step', 'grid': 'regions an image'}
    figure = Figure(figsize=(3.4 * len(rows), 3.4), layout='constrained')
    axes = figure.subplots(1, len(rows), squeeze=False, sharey=True)[0]
    for axis, (name, points) in zip(axes, rows.items(), strict=True):
        points = sorted(points, key=lambda row: row[name])
        across = [row[name] for row in points]
        for label, colour in (('plain', 'tab:blue'), ('distilled', 'tab:orange')):
            times = [row[f'{label}, ms'] for row in points]
            axis.plot(across, times, 'o-', color=colour, label=label)
        axis.set(xlabel=titles.get(name, name), xscale='log', yscale='log')
        axis.set_xticks(across, [str(value) for value in across], minor=False)
        axis.minorticks_off()
        ratio = axis.twinx()
        ratios = [row['time ratio'] for row in points]
        ratio.plot(across, ratios, 's--', color='0.5', label='distilled / plain (right axes)')
        # From zero, and with room above.
        ratio.set_ylim(0, 1.4 * max(row['time ratio'] for each in rows.values() for row in each))
    axes[0].set_ylabel('ms a step')
    lines = [*axes[0].get_lines(), *ratio.get_lines()]
    figure.legend(handles=lines, loc='outside upper center', ncols=3, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, draw the figure."""
    args = parse_args(arguments)
    if args.figure:
        check_output('--figure', args.figure, ('.png', '.pdf', '.svg'))
    torch.set_num_threads(args.threads)
    cfg, device = Config.fromfile(args.config), torch.device(args.device)
    if not is_distilled(cfg):
        raise SystemExit(f'{args.config} is a plain config; give a distilled one')
    values = {name: getattr(args, name) for name in ('patch', 'batch', 'grid', 'width')}
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, choices in values.items():
        rows[name] = []
        for value in choices:
            point = {**{key: each[0] for key, each in values.items()}, name: value}
            torch.manual_seed(0)
            rows[name].append(measure(cfg, point, args, device))
    # The first value of each list is measured for every quantity, and printed once.
    printed = [row for name, points in rows.items() for row in points[name != 'patch' :]]
    print(
        to_markdown([{'regions' if k == 'grid' else k: v for k, v in r.items()} for r in printed])
    )
    print(describe_machine(device))
    if args.figure:
        draw(rows, args.figure)
        print(f'written: {args.figure}')


if __name__ == '__main__':
    run(main)
