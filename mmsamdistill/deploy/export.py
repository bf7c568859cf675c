"""From a distilled checkpoint to the plain restorer that is deployed."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmsamdistill.deploy.cost import count_flops, count_parameters
from mmsamdistill.deploy.graph import torchscript_bytes
from mmsamdistill.files import write_atomically
from mmsamdistill.version import __version__
from mmsamdistill.weights import find_state_dict, load_plain, read_checkpoint, to_plain_state_dict
from mmsamdistill.weights.dialects import student_part

# Training needs them, loading weights does not; some would load large networks of their own.
_TRAINING_ONLY = {'regions': None, 'sgr_loss': None, 'analyzer': None}


def is_distilled(cfg: Config) -> bool:
    """Tell whether a config's model is a cascade around a plain restorer.

    Args:
        cfg: A whole config.

    Example:
        >>> is_distilled(Config(dict(model=dict(type='BaseEditModel'))))
        False
    """
    restorer = cfg.model.get('restorer')
    return isinstance(restorer, Mapping) and 'type' in restorer


def plain_config(cfg: Config) -> Config:
    """Derive the plain restorer's config from a distilled one.

    Only ``model`` is replaced, by the restorer that the cascade wraps: what tests and deploys the
    model is the same for both.

    Args:
        cfg: A whole config; a plain one is returned as a copy.

    Returns:
        A new config.

    Raises:
        KeyError: If the config has no ``model``.

    Example:
        >>> plain = dict(type='BaseEditModel', generator=dict(type='NAFNet'))
        >>> cfg = Config(dict(model=dict(type='SAMDistillRestorer', restorer=plain)))
        >>> plain_config(cfg).model.type
        'BaseEditModel'

    Source: ours.
    """
    if 'model' not in cfg:
        raise KeyError(f"the config {cfg.filename or ''} has no 'model'")
    # A dict is merged by Config unless it is replaced below the attribute access.
    content = copy.deepcopy(cfg._cfg_dict)
    if is_distilled(cfg):
        content['model'] = content['model']['restorer']
    return Config(content, filename=cfg.filename)


def build_model(cfg: Config) -> nn.Module:
    """Build a config's model, weights as initialised by its constructor.

    Args:
        cfg: A whole config, plain or distilled.

    Returns:
        The model, in training mode, on the CPU.

    Example:
        >>> generator = dict(type='NAFNet', mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1])
        >>> model = dict(type='BaseEditModel', generator=generator, pixel_loss=dict(type='L1Loss'))
        >>> type(build_model(Config(dict(model=model))).generator).__name__
        'NAFNet'
    """
    # MMEngine's base classes look up nested parts by the default scope.
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmagic')):
        return MODELS.build(cfg.model)


def plain_state_dict(
    source: nn.Module | str | Path | Mapping[str, Any], ema: bool = True
) -> dict[str, Tensor]:
    """Take the plain restorer's weights out of a model or checkpoint.

    Args:
        source: A model (of a cascade, its student is meant), a checkpoint's path, or its content.
        ema: Take averaged weights if there are any; else the raw ones.

    Returns:
        The weights, bit for bit; official checkpoints keep their names, see
        :func:`~mmsamdistill.weights.to_plain_state_dict`.

    Example:
        >>> plain_state_dict({'state_dict': {'restorer.generator.b': torch.ones(1),
        ...                                  'teacher.generator.b': torch.zeros(1)}})
        {'generator.b': tensor([1.])}

    Source: ours.
    """
    if isinstance(source, nn.Module):
        return dict(student_part(source.state_dict()))
    checkpoint = source if isinstance(source, Mapping) else read_checkpoint(source)
    return student_part(find_state_dict(checkpoint, ema))


def export_checkpoint(
    cfg: Config,
    checkpoint: str | Path,
    out: str | Path,
    fmt: str = 'mmagic',
    ema: bool = True,
) -> Path:
    """Write a checkpoint's student in a form that needs nothing of this package.

    Args:
        cfg: The config, distilled or plain.
        checkpoint: A checkpoint in any dialect.
        out: Where to write; folders are made, an existing file is replaced in one step.
        fmt: 'mmagic', a ``.pth`` file that loads with ``strict=True`` into the plain config, or
            'safetensors', the same keys, or 'torchscript', the network's graph, see
            :func:`~mmsamdistill.deploy.graph.torchscript_bytes`.
        ema: Take averaged weights if there are any; else the raw ones.

    Returns:
        The path that was written.

    Raises:
        ValueError: If the weights do not fit the config's restorer completely, or the format is
            unknown or cannot express the network.
        ImportError: If the format needs a package that is missing.

    Source: ours.
    """
    if fmt not in FORMATS:
        raise ValueError(f'format {fmt!r} is not one of {", ".join(FORMATS)}')
    model = build_model(plain_config(cfg))
    load_plain(model, checkpoint, ema)
    weights = to_plain_state_dict(plain_state_dict(checkpoint, ema), model.state_dict())
    meta = {
        'mmsamdistill_version': __version__,
        'torch_version': str(torch.__version__),
        'exported_from': Path(checkpoint).name,
        'ema': str(ema),
    }
    write_atomically(out, FORMATS[fmt](model, weights, meta))
    return Path(out)


def verify_export(
    cfg: Config, checkpoint: str | Path, exported: str | Path, ema: bool = True
) -> dict[str, int]:
    """Prove that an exported checkpoint is the distilled model's student.

    The cascade is built and loaded with the distilled checkpoint, the plain model with the exported
    one; both must give bit-identical outputs and cost the same.

    Args:
        cfg: The config that the checkpoint was trained with, distilled or plain.
        checkpoint: What was exported.
        exported: A file of format 'mmagic' or 'safetensors'.
        ema: As given to :func:`export_checkpoint`.

    Returns:
        What was compared: ``parameters``, ``flops`` (at 64 x 64 pixels) and ``images``.

    Raises:
        ValueError: If anything differs; the message says what.

    Source: ours.
    """
    ours = _load_whole(cfg, checkpoint, ema).eval()
    plain = build_model(plain_config(cfg)).eval()
    content = read_checkpoint(exported)
    weights = content.get('state_dict', content)
    try:
        plain.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ValueError(f'{exported} does not load strictly: {error}') from error
    # The cascade's cost is that of what it runs when it predicts.
    student = ours.restorer if is_distilled(cfg) else ours
    counts = {
        'parameters': (count_parameters(student), count_parameters(plain)),
        'flops': (count_flops(ours, (64, 64)), count_flops(plain, (64, 64))),
    }
    for name, (before, after) in counts.items():
        if before != after:
            raise ValueError(f'{exported}: {after} {name}, but {before} before the export')
    images = [torch.rand(size) for size in ((1, 3, 64, 64), (1, 3, 37, 51), (2, 3, 48, 33))]
    with torch.no_grad():
        for image in images:
            if not torch.equal(ours(image), plain(image)):
                raise ValueError(
                    f'{exported}: outputs differ from those of {checkpoint} '
                    f'for an image of {tuple(image.shape)}'
                )
    return {name: after for name, (_, after) in counts.items()} | {'images': len(images)}


def _load_whole(cfg: Config, checkpoint: str | Path, ema: bool) -> nn.Module:
    """Build the model as it was trained, except for frozen networks, and load it."""
    if not is_distilled(cfg):
        model = build_model(cfg)
        load_plain(model, checkpoint, ema)
        return model
    content = Config(copy.deepcopy(cfg._cfg_dict))
    content.model.update(_TRAINING_ONLY)
    model = build_model(content)
    weights = find_state_dict(read_checkpoint(checkpoint), ema)
    try:
        model.load_state_dict(weights, strict=True)
    except ValueError as error:
        raise ValueError(f'{checkpoint}: {error}') from error
    return model


def _as_mmagic(model: nn.Module, weights: dict[str, Tensor], meta: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    torch.save({'meta': meta, 'state_dict': weights}, buffer)
    return buffer.getvalue()


def _as_safetensors(model: nn.Module, weights: dict[str, Tensor], meta: dict[str, str]) -> bytes:
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise ImportError('this format needs safetensors: pip install safetensors') from error
    # The format refuses tensors that share memory or skip over it.
    return save({key: value.clone().contiguous() for key, value in weights.items()}, meta)


def _as_torchscript(model: nn.Module, weights: dict[str, Tensor], meta: dict[str, str]) -> bytes:
    return torchscript_bytes(model.generator)


FORMATS: dict[str, Callable[[nn.Module, dict[str, Tensor], dict[str, str]], bytes]] = {
    'mmagic': _as_mmagic,
    'safetensors': _as_safetensors,
    'torchscript': _as_torchscript,
}
