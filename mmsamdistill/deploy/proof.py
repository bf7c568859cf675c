"""The proof that what is deployed is the plain restorer: same keys, same cost, same output."""

from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config

from mmsamdistill.deploy.cost import count_flops, count_parameters, peak_memory, time_side_by_side
from mmsamdistill.deploy.export import build_model, is_distilled, load_trained, plain_config
from mmsamdistill.deploy.formats import FORMATS, find_format
from mmsamdistill.deploy.settings import (
    apply_local_window,
    find_device,
    image_channels,
    local_window,
    statistics_of,
)
from mmsamdistill.weights import read_checkpoint

Row = dict[str, str | int | float]


def prove_unchanged(
    cfg: Config,
    checkpoint: str | Path,
    exported: str | Path,
    shape: tuple[int, int] = (128, 128),
    repeats: int = 20,
    device: str | None = None,
) -> tuple[list[Row], bool, torch.device]:
    """Compare the plain restorer, as its config builds it, with an exported file.

    Gives a row for each quantity, whether all that must be equal is, and where it was measured.
    """
    fmt = find_format(exported)
    if FORMATS[fmt].tolerance:
        raise ValueError(
            f"{exported}: keys and FLOPs are those of 'mmagic' and 'safetensors' files"
        )
    place = find_device(device)
    plain, deployed = (build_model(plain_config(cfg)).eval() for _ in range(2))
    FORMATS[fmt].read(Path(exported), deployed)
    trained = load_trained(cfg, read_checkpoint(checkpoint), checkpoint).eval()
    channels, window = image_channels(plain), local_window(cfg)
    for model in (plain, deployed, trained.restorer if is_distilled(cfg) else trained):
        apply_local_window(model, window, channels)
    for model in (plain, deployed, trained):
        model.to(place).requires_grad_(False)
    image = torch.rand(1, channels, *shape, device=place)
    models = (plain, deployed)
    keys = [len(model.state_dict()) for model in models]
    same_keys = list(plain.state_dict()) == list(deployed.state_dict())
    parameters = [count_parameters(model) for model in models]
    flops = [count_flops(model, shape, image.shape[1]) for model in models]
    steps = [partial(model, image) for model in models]
    seconds = time_side_by_side(steps, repeats)
    memory = [peak_memory(step, place) for step in steps]
    difference = float((trained(image) - deployed(image)).abs().max())
    statistics = statistics_of(plain, window), statistics_of(deployed, window)
    rows: list[Row] = [
        {'quantity': 'statistics', 'plain': statistics[0], 'exported': statistics[1], 'ratio': ''},
        _row('keys', keys, 'd'),
        _row('parameters', parameters, ',d'),
        _row('FLOPs', flops, ',d'),
        _row('ms an image', [1e3 * each for each in seconds], '.3f'),
        _row('MiB at the peak', [each / 2**20 for each in memory], '.3f'),
        {'quantity': 'largest difference to the training checkpoint', 'exported': difference},
    ]
    equal = same_keys and len(set(parameters)) == len(set(flops)) == 1 and difference == 0
    return rows, equal, place


def _row(name: str, values: list, form: str) -> Row:
    plain, exported = values
    return {
        'quantity': name,
        'plain': format(plain, form),
        'exported': format(exported, form),
        'ratio': f'{exported / plain:.4f}',
    }
