"""The one optimiser that MMEngine takes from transformers, imported when it is built."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from mmengine.registry import Registry


def build_adafactor(*args: Any, **kwargs: Any) -> torch.optim.Optimizer:
    """Build transformers' Adafactor."""
    from transformers import Adafactor

    return Adafactor(*args, **kwargs)


def register_adafactor(registry: Registry) -> list[str]:
    """Register Adafactor as MMEngine does, without importing transformers."""
    if importlib.util.find_spec('transformers') is None:
        return []
    registry.register_module(name='Adafactor', module=build_adafactor)
    return ['Adafactor']
