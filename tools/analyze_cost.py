"""Compare what a restorer costs, deployed and in training, plain against distilled."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmsamdistill_command import add_config_options, add_device, add_shape


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='distilled config, compared with its plain one; or a plain')
    add_shape(parser)
    parser.add_argument('--batch-size', type=int, default=1, help='images a step, default: 1')
    parser.add_argument('--steps', type=int, default=5, help='timed repetitions, default: 5')
    parser.add_argument(
        '--clock',
        choices=('wall', 'cpu'),
        default='wall',
        help="of steps and predictions; 'cpu', the processor's time, on a machine that is shared",
    )
    parser.add_argument('--json', type=Path, help='write all numbers to this file')
    parser.add_argument('--figure', type=Path, help='draw what the parts cost: png, pdf or svg')
    add_device(parser)
    add_config_options(
        parser, 'override settings of the config, such as model.analyzer.weights=random'
    )
    return parser.parse_args()


if __name__ == '__main__':  # before anything heavy is imported, so that help costs nothing
    parse_args()

import torch
from mmengine.config import Config
from mmengine.runner import turn_on_activation_checkpointing
from torch import Tensor, nn

from mmsamdistill.command_line import check_output, read_config, run
from mmsamdistill.deploy.cost import (
    count_flops,
    count_parameters,
    describe_machine,
    peak_memory,
    time_in_turns,
)
from mmsamdistill.deploy.cost_by_part import PARTS, flops_by_part, time_by_part, training_step
from mmsamdistill.deploy.export import build_model, is_distilled, plain_config
from mmsamdistill.deploy.settings import image_channels
from mmsamdistill.evaluation.report import to_markdown
from mmsamdistill.files import write_atomically

Row = tuple[str, list[float], str, str]
"""Name of a quantity, one value for each model, their format, and the spread of their ratio."""
Parts = dict[str, dict[str, float]]
"""FLOPs and seconds of a training step, by part."""


def build(cfg: Config, device: torch.device) -> dict[str, nn.Module]:
    """The plain model, and the distilled one if the config is of one."""
    configs = {'plain': plain_config(cfg), **({'distilled': cfg} if is_distilled(cfg) else {})}
    torch.manual_seed(0)
    models = {name: build_model(each).to(device) for name, each in configs.items()}
    for name, each in configs.items():
        turn_on_activation_checkpointing(models[name], each.get('activation_checkpointing') or [])
    return models


def inference_step(model: nn.Module, image: Tensor) -> Callable[[], Any]:
    """Prepare one prediction."""

    def step() -> None:
        model.eval()
        with torch.no_grad():
            model(image)

    return step


def timed(name: str, seconds: list[list[float]]) -> Row:
    """Medians in ms, and the quartiles of the ratio of two times that were taken turn by turn."""
    spread = ''
    if len(seconds) == 2 and len(seconds[0]) > 1:
        ratios = [b / a for a, b in zip(*seconds, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4, method='inclusive')
        spread = f'{low:.2f} to {high:.2f}'
    return name, [1e3 * statistics.median(each) for each in seconds], '.2f', spread


def measure_prediction(
    models: list[nn.Module],
    shape: tuple[int, int],
    steps: int,
    device: torch.device,
    clock: Callable[[], float] | None,
) -> list[Row]:
    """What a prediction costs, of all models side by side."""
    # The cascade predicts by its student alone, and that is what gets exported.
    deployed = [getattr(model, 'restorer', model) for model in models]
    channels = image_channels(deployed[0])
    image = torch.rand(1, channels, *shape, device=device)
    predictions = [inference_step(model, image) for model in models]
    flops = [count_flops(model, shape, channels) / 1e9 for model in models]
    return [
        ('deployed: parameters', [count_parameters(model) for model in deployed], ',.0f', ''),
        ('deployed: GFLOPs', flops, '.4f', ''),
        timed('deployed: ms per image', time_in_turns(predictions, steps, clock=clock)),
    ]


def measure_training(
    models: list[nn.Module],
    shape: tuple[int, int],
    batch_size: int,
    steps: int,
    device: torch.device,
    clock: Callable[[], float] | None,
) -> tuple[list[Row], list[Parts]]:
    """What a training step costs, of all models side by side, and by part for each of them."""
    prepared = [training_step(model, shape, device, batch_size) for model in models]
    training = [step for step, _ in prepared]
    time_row = timed('training: ms per step', time_in_turns(training, steps, clock=clock))
    parts: list[Parts] = []
    for model, (step, optimizer) in zip(models, prepared, strict=True):
        flops: dict[str, float] = {**flops_by_part(model, step)}
        parts.append({'flops': flops, 'seconds': time_by_part(model, optimizer, step, steps)})
    totals = [sum(each['flops'].values()) / 1e9 for each in parts]
    peaks = [peak_memory(step, device) / 2**20 for step in training]
    rates = [1e3 * batch_size / each for each in time_row[1]]
    rows: list[Row] = [
        ('training: parameters', [count_parameters(model, True) for model in models], ',.0f', ''),
        ('training: GFLOPs', totals, '.4f', ''),
        time_row,
        ('training: images per second', rates, '.2f', ''),
        ('training: MiB at the peak of a step', peaks, '.2f', ''),
    ]
    interval = getattr(models[-1], 'teacher_interval', 1)
    if interval > 1:
        # In between the student alone takes a step, as the plain one measured beside it does.
        plain, teaching = time_row[1]
        mean = (teaching + (interval - 1) * plain) / interval
        name = f'training: ms per step, one of {interval} with the teacher'
        rows.insert(3, (name, [plain, mean], '.2f', ''))
    return rows, parts


def total_rows(names: list[str], totals: list[Row]) -> list[dict[str, str]]:
    """One row a quantity."""
    rows = []
    for name, values, form, quartiles in totals:
        cells = {key: format(value, form) for key, value in zip(names, values, strict=True)}
        if len(values) == 2:
            cells |= {'ratio': f'{values[1] / values[0]:.2f}', 'quartiles': quartiles}
        rows.append({'cost': name, **cells})
    return rows


def part_rows(names: list[str], parts: list[Parts]) -> list[dict[str, str]]:
    """One row a part: FLOPs of forward and backward, time of the forward pass."""
    labels = dict.fromkeys(label for each in parts for kind in each.values() for label in kind)
    rows = []
    for label in labels:
        row = {'training step, by part': label}
        for name, each in zip(names, parts, strict=True):
            flops, seconds = each['flops'].get(label), each['seconds'].get(label)
            row[f'{name}: GFLOPs'] = '' if flops is None else f'{flops / 1e9:.4f}'
            row[f'{name}: ms'] = '' if seconds is None else f'{1e3 * seconds:.2f}'
        rows.append(row)
    return rows


def draw(names: list[str], parts: list[Parts], path: Path) -> None:
    """Draw stacked bars: FLOPs and time of a training step by part."""
    import matplotlib as mpl

    mpl.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4), layout='constrained')
    scales = {'flops': (1e9, 'GFLOPs of a step'), 'seconds': (1e-3, 'ms of a step')}
    # One order and one colour a part in both panels.
    order = [*PARTS.values(), 'backward', 'optimiser', 'rest']
    for axis, (kind, (unit, title)) in zip(axes, scales.items(), strict=True):
        bottoms = [0.0] * len(names)
        for index, label in enumerate(order):
            heights = [max(0.0, each[kind].get(label, 0.0)) / unit for each in parts]
            if sum(heights) > 0:
                colour = pyplot.get_cmap('tab20')(index)
                axis.bar(names, heights, 0.6, bottom=bottoms, label=label, color=colour)
                bottoms = [a + b for a, b in zip(bottoms, heights, strict=True)]
        axis.set_title(title)
        axis.legend(fontsize=8, loc='upper left', bbox_to_anchor=(1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def check(args: argparse.Namespace) -> None:
    """Look at what was asked for, before anything that takes long."""
    if min(*args.shape, args.batch_size, args.steps) < 1:
        raise SystemExit('--shape (pixels), --batch-size and --steps must be at least 1')
    if args.json:
        check_output('--json', args.json)
    if args.figure:
        check_output('--figure', args.figure, ('.png', '.pdf', '.svg'))


def main() -> None:
    """Build, measure, print the tables."""
    args = parse_args()
    check(args)
    # 1. Build.
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    named = build(read_config(args.config, args.cfg_options), device)
    names, models = list(named), list(named.values())
    # 2. Measure.
    clock = time.process_time if args.clock == 'cpu' else None
    shape, repeated = tuple(args.shape), (args.steps, device, clock)
    totals = measure_prediction(models, shape, *repeated)
    training, parts = measure_training(models, shape, args.batch_size, *repeated)
    totals += training
    # 3. Say it: on the screen, in a file, in a figure.
    machine = describe_machine(device)
    print(
        f'\n{args.config}, {args.shape[0]} x {args.shape[1]} pixels, '
        f'{args.batch_size} image(s) a training step, median of {args.steps}'
        + (', processor time' if clock else '')
    )
    tables = to_markdown(total_rows(names, totals)), to_markdown(part_rows(names, parts))
    print(machine, *tables, sep='\n\n')
    print('\nGFLOPs of a part are forward and backward, its ms forward alone; 16 regions an image.')
    if args.json:
        content = {
            'config': args.config,
            'shape': args.shape,
            'steps': args.steps,
            'machine': machine,
            'totals': {name: dict(zip(names, values, strict=True)) for name, values, *_ in totals},
            'parts': dict(zip(names, parts, strict=True)),
        }
        write_atomically(args.json, (json.dumps(content, indent=2) + '\n').encode())
        print(f'written: {args.json}')
    if args.figure:
        draw(names, parts, args.figure)
        print(f'written: {args.figure}')


if __name__ == '__main__':
    run(main)
