"""What lies in the folders of a dataset and is not read: nothing vanishes without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from mmsamdistill.images.finding import LOOP, walk_folder
from mmsamdistill.value_range import value_range


def remarks_on_folder(folder: str | Path, listed: set[str], recursive: bool) -> list[str]:
    """Say what of a folder a dataset does not list."""
    folder = Path(folder)
    known = {str(Path(path)) for path in listed}
    below, odd, loops = 0, Counter[str](), []
    for path, reason in walk_folder(folder):
        if str(path) in known:
            continue
        if reason == LOOP:
            loops.append(str(path))
        elif path.parent != folder and not recursive:
            below += not reason
        else:
            # As it is written: the dataset takes '.png' and '.PNG', and not '.Png'.
            odd[reason if reason == 'hidden' else path.suffix or 'without suffix'] += 1
    remarks = []
    if below:
        remarks.append(
            f'{folder}: {below} images in folders below it are not read; recursive=True reads them'
        )
    if odd:
        kinds = ', '.join(f'{count} {kind}' for kind, count in odd.most_common())
        remarks.append(f'{folder}: {odd.total()} files are not read ({kinds})')
    if loops and recursive:
        remarks.append(f'{loops[0]} leads back to a folder around it: images are read repeatedly')
    return remarks


def white_of(cfg: Mapping[str, Any]) -> float | None:
    """Which value is white for a config's model; None if the config does not tell."""
    model = cfg.get('model') or {}
    while isinstance(model.get('restorer'), Mapping):
        if model.get('value_range') is not None:
            return float(model['value_range'])
        model = model['restorer']
    said = model.get('data_preprocessor') or {}
    mean, std = said.get('mean'), said.get('std')
    if mean is None or std is None:
        return None
    mean, std = (torch.as_tensor(each, dtype=torch.float32).flatten() for each in (mean, std))
    try:
        return value_range(SimpleNamespace(_enable_normalize=True, mean=mean, std=std))
    except ValueError:
        return None  # whoever builds the model says so
