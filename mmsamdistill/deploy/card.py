"""The card beside an exported file: what it is, what it costs, what was proved and tested."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmsamdistill.deploy.cost import count_flops, count_parameters
from mmsamdistill.deploy.formats import ExportSource
from mmsamdistill.deploy.machine import package_version
from mmsamdistill.files import hash_file

_PACKAGES = ('mmsamdistill', 'torch', 'mmengine', 'mmagic', 'onnx', 'onnxruntime', 'spandrel')


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
        content = json.loads(Path(report).read_text())
        tested = {key: content[key] for key in ('protocols', 'results')}
        of = Path(content['checkpoint']).name
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f'{report} is no .json report of tools/test.py --out') from error
    if of != Path(checkpoint).name:
        raise ValueError(f'{report} has the numbers of {of}, not of {Path(checkpoint).name}')
    return tested
