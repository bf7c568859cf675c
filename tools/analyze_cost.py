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


def inference_step(model: nn.Module, image: Tensor) -> Callable[[], Any]:
    """Prepare one prediction."""

    def step() -> None:
        model.eval()
        with torch.no_grad():
            model(image)

    return step


def spread(first: list[float], last: list[float]) -> str:
    """Quartiles of the ratio of two times, taken turn by turn."""
    ratios = [b / a for a, b in zip(first, last, strict=True)]
    if len(ratios) < 2:
        return ''
    low, _, high = statistics.quantiles(ratios, n=4, method='inclusive')
    return f'{low:.2f} to {high:.2f}'


def measure(
    models: list[nn.Module],
    shape: tuple[int, int],
    batch_size: int,
    steps: int,
    device: torch.device,
    clock: Callable[[], float] | None = None,
) -> tuple[list[tuple[str, list[float], str, str]], list[dict[str, dict[str, float]]]]:
    """Measure all models side by side.

    Returns:
        Name, one value for each model, a format and the ratio's spread, for every quantity; and for
        each model the FLOPs and seconds of a training step by part.
    """
    # The cascade predicts by its student alone, and that is what gets exported.
    deployed = [getattr(model, 'restorer', model) for model in models]
    channels = image_channels(deployed[0])
    image = torch.rand(1, channels, *shape, device=device)
    inference = time_in_turns(
        [inference_step(model, image) for model in models], steps, clock=clock
    )
    prepared = [training_step(model, shape, device, batch_size) for model in models]
    training = [step for step, _ in prepared]
    seconds = time_in_turns(training, steps, clock=clock)
    parts: list[dict[str, dict[str, float]]] = []
    for model, (step, optimizer) in zip(models, prepared, strict=True):
        flops: dict[str, float] = {**flops_by_part(model, step)}
        parts.append({'flops': flops, 'seconds': time_by_part(model, optimizer, step, steps)})
    medians = [[statistics.median(each) for each in times] for times in (inference, seconds)]
    spreads = [spread(*times) if len(models) == 2 else '' for times in (inference, seconds)]
    peaks = [peak_memory(step, device) / 2**20 for step in training]
    totals = [sum(each['flops'].values()) / 1e9 for each in parts]
    rows: list[tuple[str, list[float], str, str]] = [
        ('deployed: parameters', [count_parameters(model) for model in deployed], ',.0f', ''),
        (
            'deployed: GFLOPs',
            [count_flops(model, shape, channels) / 1e9 for model in models],
            '.4f',
            '',
        ),
        ('deployed: ms per image', [1e3 * each for each in medians[0]], '.2f', spreads[0]),
        ('training: parameters', [count_parameters(model, True) for model in models], ',.0f', ''),
        ('training: GFLOPs', totals, '.4f', ''),
        ('training: ms per step', [1e3 * each for each in medians[1]], '.2f', spreads[1]),
        ('training: images per second', [batch_size / each for each in medians[1]], '.2f', ''),
        ('training: MiB at the peak of a step', peaks, '.2f', ''),
    ]
    interval = getattr(models[-1], 'teacher_interval', 1)
    if interval > 1:
        # In between the student alone takes a step, as the plain one measured beside it does.
        plain, teaching = medians[1]
        mean = (teaching + (interval - 1) * plain) / interval
        name = f'training: ms per step, one of {interval} with the teacher'
        rows.insert(6, (name, [1e3 * plain, 1e3 * mean], '.2f', ''))
    return rows, parts


def part_rows(names: list[str], parts: list[dict[str, dict[str, float]]]) -> list[dict[str, str]]:
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


def draw(names: list[str], parts: list[dict[str, dict[str, float]]], path: Path) -> None:
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


def main() -> None:
    """Build, measure, print the table."""
    args = parse_args()
    if min(*args.shape, args.batch_size, args.steps) < 1:
        raise SystemExit('--shape (pixels), --batch-size and --steps must be at least 1')
    if args.json:
        check_output('--json', args.json)
    if args.figure:
        check_output('--figure', args.figure, ('.png', '.pdf', '.svg'))
    cfg = read_config(args.config, args.cfg_options)
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    configs = {'plain': plain_config(cfg)}
    if is_distilled(cfg):
        configs['distilled'] = cfg
    torch.manual_seed(0)
    models = [build_model(each).to(device) for each in configs.values()]
    for model, each in zip(models, configs.values(), strict=True):
        turn_on_activation_checkpointing(model, each.get('activation_checkpointing') or [])
    clock = time.process_time if args.clock == 'cpu' else None
    shape = tuple(args.shape)
    measured, parts = measure(models, shape, args.batch_size, args.steps, device, clock)
    rows = []
    for name, values, form, quartiles in measured:
        cells = {key: format(value, form) for key, value in zip(configs, values, strict=True)}
        if len(values) == 2:
            cells |= {'ratio': f'{values[1] / values[0]:.2f}', 'quartiles': quartiles}
        rows.append({'cost': name, **cells})
    names, machine = list(configs), describe_machine(device)
    print(
        f'\n{args.config}, {args.shape[0]} x {args.shape[1]} pixels, '
        f'{args.batch_size} image(s) a training step, median of {args.steps}'
        + (', processor time' if clock else '')
    )
    print(f'{machine}\n\n{to_markdown(rows)}\n\n{to_markdown(part_rows(names, parts))}')
    print('\nGFLOPs of a part are forward and backward, its ms forward alone; 16 regions an image.')
    if args.json:
        content = {
            'config': args.config,
            'shape': list(args.shape),
            'steps': args.steps,
            'machine': machine,
            'totals': {
                name: dict(zip(names, values, strict=True)) for name, values, *_ in measured
            },
            'parts': dict(zip(names, parts, strict=True)),
        }
        write_atomically(args.json, (json.dumps(content, indent=2) + '\n').encode())
        print(f'written: {args.json}')
    if args.figure:
        draw(names, parts, args.figure)
        print(f'written: {args.figure}')


if __name__ == '__main__':
    run(main)
