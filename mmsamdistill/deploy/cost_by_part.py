"""Where a training step's arithmetic and time go, by part of the cascade."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmsamdistill.frozen import FrozenNetwork

# The parts of a cascade by attribute; 'average' holds the networks that make the target.
PARTS = {
    'restorer': 'student',
    'teacher': 'teacher',
    'spf': 'SPF',
    'average': 'target',
    'analyzer': 'analyser',
    'spd_loss': 'SPD',
    'sgr_loss': 'SGR',
    'regions': 'region source',
}


def parts_of(model: nn.Module) -> dict[str, list[nn.Module]]:
    """Name the modules whose calls make up a step; a plain model is all student."""
    if not hasattr(model, 'predict_teacher'):
        return {'student': [model.generator]}
    found: dict[str, list[nn.Module]] = {}
    for attribute, name in PARTS.items():
        module = getattr(model, attribute, None)
        if isinstance(module, nn.Module):
            # The average is a container, and of a restorer the network alone is called in training.
            called = list(module.children()) if attribute == 'average' else [module]
            found[name] = [getattr(each, 'generator', each) for each in called]
    return found


def flops_by_part(model: nn.Module, step: Callable[[], Any]) -> dict[str, int]:
    """Count a training step's multiplications with additions, forward and backward, by part.

    Convolutions and matrix products are counted, as in
    :func:`~mmsamdistill.deploy.cost.count_flops`; pooling over regions has none.

    Args:
        model: A cascade or a plain model.
        step: One training step of it.

    Returns:
        Counts by part, ``'rest'`` is what belongs to none; empty before torch 2.2, which has no
        table of formulas.
    """
    try:
        from torch.utils.flop_counter import flop_registry
    except ImportError:
        return {}
    counter = _PartCounter(parts_of(model), flop_registry)
    with counter:
        step()
    # Two operations are one multiplication with its addition.
    return {name: count // 2 for name, count in counter.counts.items()}


class _PartCounter(TorchDispatchMode):
    """Adds up FLOPs by whose forward pass runs, or whose weights an operation reads.

    torch's own counter by modules cannot follow the gradients that a matched distance takes inside
    of the forward pass. In the backward pass the weights tell the part; a matrix product without
    any belongs to the part before it, since the backward pass goes through part after part.
    """

    def __init__(self, parts: dict[str, list[nn.Module]], formulas: Any) -> None:
        super().__init__()
        self.counts = dict.fromkeys([*parts, 'rest'], 0)
        self._formulas = formulas
        self._stack: list[str] = []
        self._last = 'rest'
        self._parts = parts
        self._owners = {
            tensor.untyped_storage().data_ptr(): name
            for name, modules in parts.items()
            for module in modules
            for network in (module, *_held_networks(module))
            for tensor in (*network.parameters(), *network.buffers())
        }
        self._handles: list[Any] = []

    def __enter__(self) -> _PartCounter:
        for name, modules in self._parts.items():
            for module in modules:
                self._handles += [
                    module.register_forward_pre_hook(
                        lambda *_, name=name: self._stack.append(name)
                    ),
                    module.register_forward_hook(lambda *_: self._stack.pop() and None),
                ]
        super().__enter__()
        return self

    def __exit__(self, *arguments: Any) -> None:
        super().__exit__(*arguments)
        for handle in self._handles:
            handle.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = self._formulas.get(func._overloadpacket)
        if func._overloadpacket is torch.ops.aten.convolution_backward:
            self.counts[self._part(args)] += _backward_of_convolution(*args)
        elif formula is not None:
            part = self._part(args)
            self.counts[part] += formula(*args, **(kwargs or {}), out_val=result)
        return result

    def _part(self, args: tuple) -> str:
        if self._stack:
            return self._stack[-1]
        for each in args:
            if isinstance(each, Tensor):
                self._last = self._owners.get(each.untyped_storage().data_ptr(), self._last)
        return self._last


def _held_networks(module: nn.Module) -> list[nn.Module]:
    """Frozen networks, which their owner uses without owning their weights."""
    return [each.network for each in module.modules() if isinstance(each, FrozenNetwork)]


def _backward_of_convolution(gradient: Tensor, image: Tensor, weight: Tensor, *rest: Any) -> int:
    """Count each gradient as the forward pass; torch's formula takes no account of groups."""
    transposed, wanted = rest[4], rest[7]
    seen = image if transposed else gradient
    places = seen.shape[0] * seen[0, 0].numel()
    return 2 * places * weight.numel() * (bool(wanted[0]) + bool(wanted[1]))


class PartTimer:
    """Times the forward passes of a model's parts, the backward pass and the optimiser's step.

    Args:
        model: A cascade or a plain model.
        optimizer: The wrapper whose ``backward`` and ``step`` are timed.
    """

    def __init__(self, model: nn.Module, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.seconds: dict[str, float] = {}
        self._handles: list[Any] = []
        self._parts = parts_of(model)

    def run(self, step: Callable[[], Any], repeats: int) -> dict[str, float]:
        """Run a step several times.

        Args:
            step: One training step.
            repeats: How often.

        Returns:
            Median seconds by part; ``'rest'`` is what is left of the whole step.
        """
        rows: list[dict[str, float]] = []
        with self:
            for _ in range(repeats):
                self.seconds = {}
                start = self._now()
                step()
                whole = self._now() - start
                rows.append({**self.seconds, 'rest': whole - sum(self.seconds.values())})
        return {name: statistics.median(row.get(name, 0.0) for row in rows) for name in rows[-1]}

    def __enter__(self) -> PartTimer:
        for name, modules in self._parts.items():
            for module in modules:
                began: list[float] = []
                self._handles += [
                    module.register_forward_pre_hook(
                        lambda *_, began=began: began.append(self._now())
                    ),
                    module.register_forward_hook(
                        lambda *_, began=began, name=name: self._add(name, began.pop())
                    ),
                ]
        for name, method in (('backward', 'backward'), ('optimiser', 'step')):
            setattr(self.optimizer, method, self._timed(name, getattr(self.optimizer, method)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for method in ('backward', 'step'):
            delattr(self.optimizer, method)

    def _timed(self, name: str, function: Callable) -> Callable:
        def call(*arguments: Any, **options: Any) -> Any:
            start = self._now()
            result = function(*arguments, **options)
            self._add(name, start)
            return result

        return call

    def _add(self, name: str, start: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + self._now() - start

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()
