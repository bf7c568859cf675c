"""What a config says about running its restorer: how it loads, what it sees, its statistics."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from mmsamdistill.datasets.region_pipeline import type_name
from mmsamdistill.restorers.local_statistics import has_local_statistics, use_local_statistics
from mmsamdistill.value_range import value_range
from mmsamdistill.weights.reading import reason_of


def loading_step(cfg: Config) -> dict[str, Any]:
    """Find how a config loads the images it tests on."""
    # MMagic loads BGR unless told otherwise, and a network restores well only in the order that it
    # was trained in.
    for pipeline in _pipelines(cfg):
        steps = {
            step.get('key'): step for step in pipeline if type_name(step) == 'LoadImageFromFile'
        }
        for key in ('img', 'gt'):  # the truth, where the degraded image is made from it
            if key in steps:
                return {**steps[key], 'key': 'img'}
    raise ValueError(
        "no LoadImageFromFile in the config's test or validation pipeline, to tell how images are "
        "loaded; add test_pipeline=[dict(type='LoadImageFromFile', key='img', channel_order=...)]"
    )


def local_window(cfg: Config) -> int | None:
    """Window of the config's ``LocalStatisticsHook`` in pixels; None: statistics are global."""
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    for hook in hooks:
        if isinstance(hook, Mapping) and hook.get('type') == 'LocalStatisticsHook':
            return hook['window']
    return None


def set_local_window(cfg: Config, window: int | None) -> None:
    """Set the config's window, as ``--local`` does; 0 takes the hook out, None leaves it."""
    if window is None:
        return
    hooks = [
        hook for hook in cfg.get('custom_hooks') or [] if hook['type'] != 'LocalStatisticsHook'
    ]
    cfg.custom_hooks = hooks
    hook = {'type': 'LocalStatisticsHook', 'window': window} if window else None
    cfg.merge_from_dict({'default_hooks': {'local': {'_delete_': True, **hook} if hook else None}})


def apply_local_window(model: nn.Module, window: int | None, channels: int) -> None:
    """Convert a plain model's network, where a window is asked for."""
    if window is not None:
        use_local_statistics(getattr(model, 'generator', model), window, channels)


def statistics_of(model: nn.Module, window: int | None) -> str:
    """Say over what a plain model pools and normalises, to stand beside its numbers."""
    if window:
        return f'windows of {window} pixels'
    local = has_local_statistics(getattr(model, 'generator', model))
    return 'local by construction' if local else 'global'


def image_channels(model: nn.Module) -> int:
    """Find how many channels a plain model's images have, by trying."""
    # No two networks name the argument alike, and a first convolution may see more than the image.
    network = getattr(model, 'generator', model)
    training, parameter = network.training, next(network.parameters())
    first = next((m.in_channels for m in network.modules() if hasattr(m, 'in_channels')), 3)
    network.eval()
    try:
        for channels in dict.fromkeys((3, first, 1, 4, 6)):
            try:
                with torch.no_grad():
                    network(parameter.new_zeros(1, channels, 32, 32))
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                reason = error
                continue
            return channels
    finally:
        network.train(training)
    raise ValueError(
        f'{type(network).__name__} takes images of no usual number of channels: {reason}'
    )


def seen_order(cfg: Config, model: nn.Module) -> str | None:
    """Order of the channels that the network sees when it is tested; None if no pipeline says."""
    output = getattr(model.data_preprocessor, 'output_channel_order', None)
    if output:
        return output.lower()
    try:
        step = loading_step(cfg)
    except ValueError:
        return None
    return (
        'grayscale' if step.get('color_type') == 'grayscale' else step.get('channel_order', 'bgr')
    )


def sees_unit_range(model: nn.Module) -> bool:
    """Whether the network sees 0 for black and 1 for white."""
    preprocessor = model.data_preprocessor
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    try:
        white = value_range(preprocessor)
    except ValueError:
        return False
    return mean is not None and bool((mean == 0).all()) and bool((std == white).all())


def find_device(name: str | None) -> torch.device:
    """The device of a name, tried; None: CUDA if there is any."""
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except Exception as error:
        raise ValueError(f'device {name!r} is not there: {reason_of(error)}') from error
    return device


def _pipelines(cfg: Config) -> Iterator[list[Mapping]]:
    """Yield a config's pipelines, the one that says most about deployment first."""
    for name in ('test', 'val'):
        loaders = cfg.get(f'{name}_dataloader')
        for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
            dataset = (loader or {}).get('dataset')
            while dataset and 'pipeline' not in dataset:
                dataset = dataset.get('dataset')  # a data set around a data set
            if dataset:
                yield dataset['pipeline']
        if cfg.get(f'{name}_pipeline'):
            yield cfg[f'{name}_pipeline']
