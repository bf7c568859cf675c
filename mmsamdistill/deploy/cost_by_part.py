"""Where a training step's arithmetic and time go, by part of the cascade."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmsamdistill.deploy.cost import now
from mmsamdistill.deploy.settings import image_channels
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


def flops_by_part(model: nn.Module, step: Callable[[], Any]) -> dict[str, int]:
    """Count a training step's multiplications with additions, forward and backward, by part.

    ``'rest'`` belongs to none. Empty before torch 2.2, which has no table of formulas.
    """
    try:
        from torch.utils.flop_counter import flop_registry
    except ImportError:
        return {}
    parts = _parts_of(model)
    counter = _PartCounter(parts, flop_registry)
    with _watched(parts, counter.running.append, counter.running.remove), counter:
        step()
    # Two operations are one multiplication with its addition.
    return {name: count // 2 for name, count in counter.counts.items()}


def time_by_part(
    model: nn.Module, optimizer: Any, step: Callable[[], Any], repeats: int
) -> dict[str, float]:
    """Median seconds of the parts' forward passes, the backward pass and the optimiser's step.

    ``'rest'`` is what is left of the whole training step. ``optimizer`` is the wrapper whose
    ``backward`` and ``step`` are called in it.
    """
    spent: dict[str, float] = {}
    began: list[float] = []

    def leave(name: str) -> None:
        spent[name] = spent.get(name, 0.0) + now() - began.pop()

    def timed(name: str, function: Callable) -> Callable:
        def call(*arguments: Any, **options: Any) -> Any:
            began.append(now())
            result = function(*arguments, **options)
            leave(name)
            return result

        return call

    rows: list[dict[str, float]] = []
    with _watched(_parts_of(model), lambda name: began.append(now()), leave):
        optimizer.backward = timed('backward', optimizer.backward)
        optimizer.step = timed('optimiser', optimizer.step)
        for _ in range(repeats):
            spent.clear()
            start = now()
            step()
            whole = now() - start
            rows.append({**spent, 'rest': whole - sum(spent.values())})
        # The object's own, in front of its class's.
        del optimizer.backward, optimizer.step
    return {name: statistics.median(row.get(name, 0.0) for row in rows) for name in rows[-1]}


def _parts_of(model: nn.Module) -> dict[str, list[nn.Module]]:
    """The modules whose calls make up a step, by part; a plain model is all student."""
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


@contextmanager
def _watched(
    parts: dict[str, list[nn.Module]], enter: Callable[[str], None], leave: Callable[[str], None]
) -> Iterator[None]:
    """Tell of each forward pass of a part when it begins and ends."""
    with ExitStack() as hooks:
        for name, modules in parts.items():
            # Both return None: a hook's result would take the place of the module's.
            for module in modules:
                before = module.register_forward_pre_hook(lambda *_, name=name: enter(name))
                after = module.register_forward_hook(lambda *_, name=name: leave(name))
                hooks.callback(before.remove)
                hooks.callback(after.remove)
        yield


class _PartCounter(TorchDispatchMode):
    """Adds up FLOPs by whose forward pass is ``running``, or whose weights an operation reads."""

    # torch's own counter by modules cannot follow the gradients that a matched distance takes
    # inside of the forward pass. In the backward pass the weights tell the part; a matrix product
    # without any belongs to the part before it, since that pass goes through part after part.

    def __init__(self, parts: dict[str, list[nn.Module]], formulas: Any) -> None:
        super().__init__()
        self.counts = dict.fromkeys([*parts, 'rest'], 0)
        self.running: list[str] = []
        self._formulas = formulas
        self._last = 'rest'
        self._owners = {
            tensor.untyped_storage().data_ptr(): name
            for name, modules in parts.items()
            for module in modules
            for network in (module, *_held_networks(module))
            for tensor in (*network.parameters(), *network.buffers())
        }

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
        if self.running:
            return self.running[-1]
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


def training_step(
    model: nn.Module,
    shape: tuple[int, int],
    device: torch.device,
    batch_size: int = 1,
    grid: int = 4,
) -> tuple[Callable[[], Any], OptimWrapper]:
    """Prepare one step: forward, backward and AdamW, whatever the config's optimiser.

    A common optimiser, since a difference of optimisers is not what is asked. Each image has a
    region map of ``grid`` x ``grid`` rectangles.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = OptimWrapper(torch.optim.AdamW(trained, lr=1e-6))
    channels = image_channels(getattr(model, 'restorer', model))

    def step() -> dict[str, Any]:
        model.train()
        return model.train_step(_batch(shape, device, channels, batch_size, grid), optimizer)

    return step, optimizer


def _batch(
    shape: tuple[int, int], device: torch.device, channels: int, batch_size: int, grid: int
) -> dict[str, Any]:
    from mmagic.structures import DataSample  # importable only after mmsamdistill

    height, width = shape
    generator = torch.Generator().manual_seed(0)
    size = (2, batch_size, channels, height, width)
    degraded, truth = torch.randint(0, 256, size, generator=generator).float().to(device)
    rows, columns = (torch.arange(length) * grid // length for length in shape)
    regions = (rows[:, None] * grid + columns + 1).int()[None].to(device)
    samples = []
    for image in truth:
        sample = DataSample(gt_img=image)
        sample.set_field(regions, 'regions')
        samples.append(sample)
    return {'inputs': list(degraded), 'data_samples': samples}
