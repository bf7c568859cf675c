"""Compare what a restorer costs, deployed and in training, plain against distilled."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='distilled config, compared with its plain one; or a plain')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(128, 128),
        metavar=('H', 'W'),
        help='pixels of the image, default: 128 128',
    )
    parser.add_argument('--steps', type=int, default=5, help='timed repetitions, default: 5')
    parser.add_argument('--device', help='cpu, cuda, ...; default: CUDA if there is any')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='override settings of the config, such as model.analyzer.weights=random',
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser.parse_args()


if __name__ == '__main__':  # before anything heavy is imported, so that help costs nothing
    parse_args()

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmsamdistill.command_line import read_config, run
from mmsamdistill.deploy.cost import (
    count_flops,
    count_parameters,
    peak_memory,
    time_side_by_side,
)
from mmsamdistill.deploy.export import build_model, is_distilled, plain_config
from mmsamdistill.deploy.machine import describe_machine
from mmsamdistill.evaluation.report import to_markdown


def make_batch(shape: tuple[int, int], device: torch.device) -> dict[str, Any]:
    """Make one random training image with a region map of sixteen rectangles."""
    from mmagic.structures import DataSample  # importable only after mmsamdistill

    height, width = shape
    generator = torch.Generator().manual_seed(0)
    degraded, truth = torch.randint(0, 256, (2, 3, height, width), generator=generator).float()
    rows, columns = (torch.arange(size) * 4 // size for size in shape)
    regions = (rows[:, None] * 4 + columns + 1).int()[None]
    sample = DataSample(gt_img=truth.to(device))
    sample.set_field(regions.to(device), 'regions')
    return {'inputs': [degraded.to(device)], 'data_samples': [sample]}


def training_step(
    model: nn.Module, shape: tuple[int, int], device: torch.device
) -> Callable[[], Any]:
    """Prepare one step of training: forward, backward and AdamW, whatever the config's optimiser.

    A common optimiser, since a difference of optimisers is not what is asked.
    """
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = OptimWrapper(torch.optim.AdamW(trained, lr=1e-6))
    return lambda: model.train_step(make_batch(shape, device), optimizer)


def inference_step(model: nn.Module, image: Tensor) -> Callable[[], Any]:
    """Prepare one prediction."""

    def step() -> None:
        model.eval()
        with torch.no_grad():
            model(image)

    return step


def measure(
    models: list[nn.Module], shape: tuple[int, int], steps: int, device: torch.device
) -> list[tuple[str, list[float], str]]:
    """Measure all models side by side.

    Returns:
        Name, one value for each model, and a format, for every quantity.
    """
    image = torch.rand(1, 3, *shape, device=device)
    # The cascade predicts by its student alone, and that is what gets exported.
    deployed = [getattr(model, 'restorer', model) for model in models]
    inference = time_side_by_side([inference_step(model, image) for model in models], steps)
    training = [training_step(model, shape, device) for model in models]
    training_seconds = time_side_by_side(training, steps)
    return [
        ('deployed: parameters', [count_parameters(model) for model in deployed], ',.0f'),
        ('deployed: GFLOPs', [count_flops(model, shape) / 1e9 for model in models], '.4f'),
        ('deployed: ms per image', [1e3 * seconds for seconds in inference], '.2f'),
        ('training: parameters', [count_parameters(model, True) for model in models], ',.0f'),
        ('training: ms per step', [1e3 * seconds for seconds in training_seconds], '.2f'),
        (
            'training: MiB at the peak of a step',
            [peak_memory(step, device) / 2**20 for step in training],
            '.2f',
        ),
    ]


def main() -> None:
    """Build, measure, print the table."""
    args = parse_args()
    if min(args.shape) < 1 or args.steps < 1:
        raise SystemExit('--shape: height and width in pixels; --steps: at least 1')
    cfg = read_config(args.config, args.cfg_options)
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    configs = {'plain': plain_config(cfg)}
    if is_distilled(cfg):
        configs['distilled'] = cfg
    torch.manual_seed(0)
    models = [build_model(each).to(device) for each in configs.values()]
    rows = []
    for name, values, form in measure(models, tuple(args.shape), args.steps, device):
        cells = {key: format(value, form) for key, value in zip(configs, values, strict=True)}
        ratio = {'ratio': f'{values[1] / values[0]:.2f}'} if len(values) == 2 else {}
        rows.append({'one image': name, **cells, **ratio})
    print(f'\n{args.config}, {args.shape[0]} x {args.shape[1]} pixels, median of {args.steps}')
    print(describe_machine(device) + '\n')
    print(to_markdown(rows))


if __name__ == '__main__':
    run(main)
