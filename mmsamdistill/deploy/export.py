"""From a distilled checkpoint to the plain restorer that is deployed."""

import copy
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmsamdistill.deploy import settings
from mmsamdistill.deploy.cost import count_flops, count_parameters
from mmsamdistill.deploy.formats import (
    FORMATS,
    ExportSource,
    describe_export,
    find_format,
    tested_numbers,
)
from mmsamdistill.files import write_atomically
from mmsamdistill.version import __version__
from mmsamdistill.weights import find_state_dict, read_checkpoint, to_plain_state_dict

# Training needs them, loading weights does not; some would load large networks of their own.
_TRAINING_ONLY = {'regions': None, 'sgr_loss': None, 'analyzer': None}


def is_distilled(cfg: Config) -> bool:
    """Tell whether a config's model is a cascade around a plain restorer."""
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
    """
    if 'model' not in cfg:
        raise KeyError(f"the config {cfg.filename or ''} has no 'model'")
    # A dict is merged by Config unless it is replaced below the attribute access.
    content = copy.deepcopy(cfg._cfg_dict)
    if is_distilled(cfg):
        content['model'] = content['model']['restorer']
        # Modules whose activations are computed anew are named as seen from the cascade.
        parts = content.pop('activation_checkpointing', None) or []
        parts = [parts] if isinstance(parts, str) else parts
        student = [name for name in parts if name.startswith('restorer.')]
        if student:
            content['activation_checkpointing'] = [n.removeprefix('restorer.') for n in student]
    return Config(content, filename=cfg.filename)


def build_model(cfg: Config) -> nn.Module:
    """Build a config's model, weights as initialised by its constructor."""
    # MMEngine's base classes look up nested parts by the default scope.
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmagic')):
        return MODELS.build(cfg.model)


def export_checkpoint(
    cfg: Config,
    checkpoint: str | Path,
    out: str | Path,
    fmt: str | None = None,
    ema: bool = True,
    verify: bool = True,
    report: str | Path | None = None,
) -> Path:
    """Write a checkpoint's student in a form that needs nothing of this package.

    The file is proved to give the student's output before it appears under its name, and a card is
    written beside it (``OUT.json``): config, cost, versions, hash, what was proved and tested.

    Args:
        cfg: The config, distilled or plain.
        checkpoint: A checkpoint in any dialect.
        out: Where to write; folders are made, an existing file is replaced in one step.
        fmt: 'mmagic', a ``.pth`` file that loads with ``strict=True`` into the plain config;
            'safetensors', the same keys; 'spandrel', a ``.safetensors`` of the bare network's keys,
            as spandrel and the programs built on it load; 'onnx', the network's graph, sizes left
            open. None: the suffix of ``out`` decides.
        ema: Take averaged weights if there are any; else the raw ones.
        verify: Prove it, see :func:`verify_export`. Default: True.
        report: A ``.json`` of ``tools/test.py --out`` with this checkpoint's numbers, for the card.

    Returns:
        The path that was written.

    Raises:
        ValueError: If ``out`` is an input, its suffix contradicts the format, the weights do not
            fit the config's restorer completely, the format cannot express the network, or the
            outputs differ. Nothing is written then.
        ImportError: If the format needs a package that is missing.
    """
    # 1. Everything that can be refused is refused before anything is written.
    out = Path(out)
    fmt = find_format(out, fmt)
    _refuse_inputs(out, [checkpoint, cfg.filename, report])
    content = read_checkpoint(checkpoint)
    source = _load_source(cfg, content, checkpoint, ema)
    tested = None if report is None else tested_numbers(report, checkpoint)
    # 2. Write to a trial file, and prove that its reader gives the checkpoint's outputs.
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.export', dir=out.parent) as folder:
        trial = Path(folder, f'trial{out.suffix}')
        write_atomically(trial, FORMATS[fmt].write(source))
        proof = None
        if verify or FORMATS[fmt].always_tried:
            proof = _verify(cfg, content, checkpoint, trial, fmt, ema)
        # 3. Give it its name, in one step, and a card.
        card = describe_export(trial, out.name, fmt, cfg, source, proof, tested)
        os.replace(trial, out)
        write_atomically(card_path(out), card)
    return out


def card_path(out: str | Path) -> Path:
    """Where the card of an exported file lies."""
    return Path(out).with_name(f'{Path(out).name}.json')


def verify_export(
    cfg: Config,
    checkpoint: str | Path,
    exported: str | Path,
    ema: bool = True,
    fmt: str | None = None,
) -> dict[str, int | float]:
    """Prove that an exported file is the distilled model's student.

    The cascade is built and loaded with the distilled checkpoint, the exported file is read by the
    reader it is for (MMagic's plain model, spandrel, onnxruntime). Outputs must be equal, bit for
    bit where the network is the same code, and parameters and FLOPs too where they can be counted.

    Args:
        cfg: The config that the checkpoint was trained with, distilled or plain.
        checkpoint: What was exported.
        exported: A file that :func:`export_checkpoint` wrote.
        ema: As given to :func:`export_checkpoint`.
        fmt: Its format; None: the suffix decides.

    Returns:
        What was compared: ``images``, the largest ``difference`` of their outputs, the
        ``tolerance``, ``parameters`` and ``flops`` (at 64 x 64 pixels).

    Raises:
        ValueError: If anything differs; the message says what.
    """
    fmt = find_format(exported, fmt)
    return _verify(cfg, read_checkpoint(checkpoint), checkpoint, Path(exported), fmt, ema)


def _verify(
    cfg: Config, content: Mapping, checkpoint: str | Path, exported: Path, fmt: str, ema: bool
) -> dict[str, int | float]:
    # 1. The model as it was trained, and a plain one to be loaded with the file.
    ours = load_trained(cfg, content, checkpoint, ema).eval()
    plain = build_model(plain_config(cfg)).eval()
    channels = settings.image_channels(plain)
    # The cascade's cost is that of what it runs when it predicts.
    student = ours.restorer if is_distilled(cfg) else ours
    for model in (student, plain):
        settings.apply_local_window(model, settings.local_window(cfg), channels)
    # 2. Equal cost, where the reader's model can be counted.
    computed, counted = FORMATS[fmt].read(exported, plain)
    counts = {
        'parameters': count_parameters(student),
        'flops': count_flops(ours, (64, 64), channels),
    }
    if counted is plain:
        after = count_parameters(plain), count_flops(plain, (64, 64), channels)
        for (name, before), now in zip(counts.items(), after, strict=True):
            if before != now:
                raise ValueError(f'{exported}: {now} {name}, but {before} before the export')
    # 3. Equal outputs at several sizes.
    tolerance, largest = FORMATS[fmt].tolerance, 0.0
    for batch, height, width in FORMATS[fmt].sizes:
        image = torch.rand(batch, channels, height, width)
        with torch.no_grad():
            wanted, given = ours(image), computed(image)
        same = wanted.shape == given.shape
        difference = float((wanted - given).abs().max()) if same else float('inf')
        if not difference <= tolerance:  # not a number differs, too
            raise ValueError(
                f'{exported}: outputs differ from those of {checkpoint} for an image of '
                f'{tuple(image.shape)} by {difference:.3g}, more than {tolerance:g}'
            )
        largest = max(largest, difference)
    proof = {'images': len(FORMATS[fmt].sizes), 'difference': largest, 'tolerance': tolerance}
    return {**proof, **counts}


def _load_source(cfg: Config, content: Mapping, checkpoint: str | Path, ema: bool) -> ExportSource:
    """Build the plain restorer with the checkpoint's weights, and gather what its file says."""
    model = build_model(plain_config(cfg)).eval()
    try:
        weights = to_plain_state_dict(find_state_dict(content, ema), model.state_dict())
    except ValueError as error:
        raise ValueError(f'{checkpoint}: {error}') from error
    model.load_state_dict(weights, strict=True)
    channels, window = settings.image_channels(model), settings.local_window(cfg)
    order = settings.seen_order(cfg, model)
    settings.apply_local_window(model, window, channels)
    meta = {
        'mmsamdistill_version': __version__,
        'torch_version': str(torch.__version__),
        'exported_from': Path(checkpoint).name,
        'ema': str(ema),
        'restorer': type(getattr(model, 'generator', model)).__name__,
        'channel_order': order or 'unknown',
        'statistics': settings.statistics_of(model, window),
    }
    return ExportSource(model, weights, channels, meta, order, settings.sees_unit_range(model))


def _refuse_inputs(out: Path, inputs: list[str | Path | None]) -> None:
    """Refuse to write over what is read, by whatever name."""
    if out.is_dir():
        raise ValueError(f'{out} is a folder; name the file to write')
    for written in (out, card_path(out)):
        for given in filter(None, inputs):
            same = written.exists() and Path(given).exists() and os.path.samefile(written, given)
            if same or written.resolve() == Path(given).resolve():
                raise ValueError(
                    f'{written} is the input {given}, which an export must not replace: choose '
                    'another OUT'
                )


def load_trained(
    cfg: Config, content: Mapping, checkpoint: str | Path, ema: bool = True
) -> nn.Module:
    """Build the model as it was trained, except for frozen networks, and load it."""
    if not is_distilled(cfg):
        return _load_source(cfg, content, checkpoint, ema).model
    whole = Config(copy.deepcopy(cfg._cfg_dict))
    whole.model.update(_TRAINING_ONLY)
    model = build_model(whole)
    try:
        model.load_state_dict(find_state_dict(content, ema), strict=True)
    except ValueError as error:
        raise ValueError(f'{checkpoint}: {error}') from error
    return model
