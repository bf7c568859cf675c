"""The forms in which a plain restorer is written, the readers that each is for, and the card."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmsamdistill.deploy.cost import count_flops, count_parameters
from mmsamdistill.deploy.graph import onnx_bytes, onnx_reader, require
from mmsamdistill.files import hash_file, parse_json
from mmsamdistill.restorers.local_statistics import has_local_statistics
from mmsamdistill.version import package_version
from mmsamdistill.weights import read_checkpoint

_NETWORK = 'generator.'
_SIZES = ((1, 64, 64), (1, 37, 51), (2, 48, 33))
_PACKAGES = ('mmsamdistill', 'torch', 'mmengine', 'mmagic', 'onnx', 'onnxruntime', 'spandrel')


@dataclass
class ExportSource:
    """What an export is made of: a loaded plain model and what is known of it."""

    model: nn.Module
    weights: dict[str, Tensor]
    channels: int
    meta: dict[str, str]
    order: str | None
    unit_range: bool


@dataclass(frozen=True)
class Format:
    """A form: the file names that mean it, how it is written, and how it is read for the proof."""

    suffixes: tuple[str, ...]
    write: Callable[[ExportSource], bytes]
    # Gives what computes the output, and a model whose cost can be counted or None.
    read: Callable[[Path, nn.Module], tuple[Callable[[Tensor], Tensor], nn.Module | None]]
    tolerance: float
    sizes: tuple[tuple[int, int, int], ...] = _SIZES
    always_tried: bool = False


def find_format(out: str | Path, name: str | None = None) -> str:
    """Find the format that a file's name means."""
    suffix = Path(out).suffix.lower()
    if name is not None and name not in FORMATS:
        raise ValueError(f'format {name!r} is not one of {", ".join(FORMATS)}')
    candidates = [name] if name else list(FORMATS)
    for candidate in candidates:
        if suffix in FORMATS[candidate].suffixes:
            return candidate
    if name:
        wanted = ' or '.join(FORMATS[name].suffixes)
        raise ValueError(
            f"{out}: format '{name}' is written to {wanted}, not {suffix or 'no suffix'}"
        )
    known = ', '.join(suffix for each in FORMATS.values() for suffix in each.suffixes)
    raise ValueError(f'{out}: its suffix tells no format; use one of {known}')


def _write_mmagic(source: ExportSource) -> bytes:
    buffer = io.BytesIO()
    torch.save({'meta': source.meta, 'state_dict': source.weights}, buffer)
    return buffer.getvalue()


def _write_spandrel(source: ExportSource) -> bytes:
    network = source.model.generator
    name = type(network).__name__
    if has_local_statistics(network):
        raise ValueError(
            f'spandrel has no local statistics: export the global {name.removesuffix("Local")} '
            '(without LocalStatisticsHook, or --cfg-options model.generator.type=NAFNet; in a '
            'cascade model.restorer.generator.type)'
        )
    if not source.unit_range:
        raise ValueError(
            "spandrel's programs give images in 0..1, and this data_preprocessor expects others"
        )
    if source.order == 'bgr':
        raise ValueError(
            "spandrel's programs give RGB, and this restorer is tested on BGR; set "
            "channel_order='rgb' in the test pipeline if it was trained on RGB"
        )
    bare = {
        key.removeprefix(_NETWORK): value
        for key, value in source.weights.items()
        if key.startswith(_NETWORK)
    }
    return _safetensors(bare, source.meta)


def _safetensors(weights: dict[str, Tensor], meta: dict[str, str]) -> bytes:
    from safetensors.torch import save

    # The format refuses tensors that share memory or skip over it.
    return save({key: value.clone().contiguous() for key, value in weights.items()}, meta)


def _read_plain(path: Path, plain: nn.Module) -> tuple[nn.Module, nn.Module]:
    content = read_checkpoint(path)
    try:
        plain.load_state_dict(content.get('state_dict', content), strict=True)
    except RuntimeError as error:
        raise ValueError(f'{path} does not load strictly: {error}') from error
    return plain, plain


def _read_spandrel(path: Path, plain: nn.Module) -> tuple[Callable[[Tensor], Tensor], nn.Module]:
    """Load by spandrel's own loader, with its extra architectures if they are installed."""
    spandrel = require('spandrel', 'spandrel')
    registry = spandrel.ArchRegistry()
    registry.add(*spandrel.MAIN_REGISTRY)
    try:
        registry.add(*require('spandrel_extra_arches', 'spandrel').EXTRA_REGISTRY)
        more = ''
    except ImportError:
        more = '; spandrel-extra-arches, which has Restormer and MPRNet, is not installed'
    try:
        found = spandrel.ModelLoader('cpu', registry).load_from_file(path)
    except Exception as error:
        raise ValueError(
            f'spandrel has no form for {type(plain.generator).__name__}: '
            f'{str(error).strip() or type(error).__name__}{more}'
        ) from error
    network = found.model.eval()

    def restore(image: Tensor) -> Tensor:
        stages = network(image)
        return stages if isinstance(stages, Tensor) else stages[0]  # MPRNet's, the last one first

    return restore, network


FORMATS: dict[str, Format] = {
    'mmagic': Format(('.pth', '.pt'), _write_mmagic, _read_plain, 0.0),
    'safetensors': Format(
        ('.safetensors',), lambda it: _safetensors(it.weights, it.meta), _read_plain, 0.0
    ),
    # Its networks are told by their keys alone, so only a trial says whether they are the same.
    'spandrel': Format(
        ('.safetensors',),
        _write_spandrel,
        _read_spandrel,
        1e-5,
        ((1, 64, 64), (1, 40, 56), (2, 48, 32)),
        always_tried=True,
    ),
    'onnx': Format(
        ('.onnx',),
        lambda it: onnx_bytes(it.model.generator, it.channels, it.meta),
        lambda path, plain: (onnx_reader(str(path)), None),
        1e-4,
        ((1, 64, 64), (2, 80, 48), (1, 61, 67), (1, 16, 95)),
    ),
}


def describe_export(
    path: Path,
    name: str,
    fmt: str,
    cfg: Config,
    source: ExportSource,
    proof: Mapping[str, Any] | None,
    tested: Mapping[str, Any] | None,
) -> bytes:
    """Write the card as JSON; ``path`` holds the content that will be called ``name``."""
    model = cfg.model.get('restorer') or cfg.model
    card = {
        'file': name,
        'sha256': hash_file(path),
        'format': fmt,
        **source.meta,
        'config': Path(cfg.filename).name if cfg.filename else None,
        'model': model.to_dict() if hasattr(model, 'to_dict') else dict(model),
        'channels': source.channels,
        'unit_range': source.unit_range,
        'parameters': count_parameters(source.model),
        'flops': {'64x64': count_flops(source.model, (64, 64), source.channels)},
        'versions': {each: found for each in _PACKAGES if (found := package_version(each))},
        'verified': dict(proof) if proof else None,
        'tested': dict(tested) if tested else None,
    }
    return (json.dumps(card, indent=2, default=str) + '\n').encode()


def tested_numbers(report: str | Path, checkpoint: str | Path) -> dict[str, Any]:
    """Take protocols and numbers out of a report, if it is this checkpoint's."""
    try:
        content = parse_json(Path(report).read_bytes(), report)
        tested = {key: content[key] for key in ('protocols', 'results')}
        of = Path(content['checkpoint']).name
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{report} is no .json report of tools/test.py --out') from error
    if of != Path(checkpoint).name:
        raise ValueError(f'{report} has the numbers of {of}, not of {Path(checkpoint).name}')
    return tested
