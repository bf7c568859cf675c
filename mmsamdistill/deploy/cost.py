"""What a restorer costs, parameters, FLOPs, time and memory, and on what that was measured."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from mmsamdistill.arguments import check_number
from mmsamdistill.version import __version__, package_version


def count_parameters(model: nn.Module, trainable: bool = False) -> int:
    """Count a model's parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def count_flops(model: nn.Module, shape: tuple[int, int], channels: int = 3) -> int:
    """Count the FLOPs of one image, as MMEngine does."""
    # One multiplication with its addition counts once, as in papers on restoration. Convolutions,
    # matrix products and standard normalisations count; custom ones (NAFNet's) do not.
    from mmengine.analysis import FlopAnalyzer

    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f'shape={shape}: expected height and width in pixels')
    parameter = next(model.parameters())
    image = torch.zeros(1, channels, *shape, device=parameter.device, dtype=parameter.dtype)
    training = model.training
    try:
        analyzer = FlopAnalyzer(model.eval(), (image,))
        analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        with torch.no_grad():
            return int(analyzer.tracer_warnings('none').total())
    finally:
        model.train(training)


def time_side_by_side(
    steps: Sequence[Callable[[], Any]], repeats: int = 10, warmup: int = 2
) -> list[float]:
    """Median seconds of several functions, see :func:`time_in_turns`."""
    return [statistics.median(each) for each in time_in_turns(steps, repeats, warmup)]


def time_in_turns(
    steps: Sequence[Callable[[], Any]],
    repeats: int = 10,
    warmup: int = 2,
    clock: Callable[[], float] | None = None,
) -> list[list[float]]:
    """Time several functions in turns, so that a machine's moods strike all: seconds of each.

    ``clock`` is another than :func:`now`.
    """
    clock = clock or now
    check_number(1, repeats=repeats)
    seconds: list[list[float]] = [[] for _ in steps]
    for turn in range(warmup + repeats):
        for index, step in enumerate(steps):
            start = clock()
            step()
            if turn >= warmup:
                seconds[index].append(clock() - start)
    return seconds


def now() -> float:
    """Seconds on a clock, when all that was asked of the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory(step: Callable[[], Any], device: torch.device | str = 'cpu') -> int:
    """Bytes of a function's tensors at their peak, without those that were there before."""
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    # What a kernel allocates inside of itself is not seen; the rest is the same on every run.
    with _LiveStorages() as live:
        step()
    return live.peak


class _LiveStorages(TorchDispatchMode):
    """Adds up the storages that operations create, as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        # By torch's own weak references: with Python's, torch 2.1 crashes when storages die.
        self._sizes: dict[StorageWeakRef, int] = {}
        self._bound = 0  # of what lives: some of those counted may have died since

    def __torch_dispatch__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        given = {self._key(leaf) for leaf in tree_flatten((args, kwargs))[0] if _is_dense(leaf)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_flatten(result)[0]:
            # A storage that went in existed before and is not this function's doing.
            if _is_dense(leaf) and self._key(leaf) not in given:
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        reference = StorageWeakRef(storage)
        if reference in self._sizes:
            return
        self._sizes[reference] = storage.nbytes()
        self._bound += storage.nbytes()
        if self._bound > self.peak:
            self._sizes = {each: size for each, size in self._sizes.items() if not each.expired()}
            self._bound = sum(self._sizes.values())
            self.peak = max(self.peak, self._bound)

    @staticmethod
    def _key(tensor: Tensor) -> int:
        return tensor.untyped_storage().data_ptr()


def _is_dense(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.layout == torch.strided


def processor_name(device: str | torch.device = 'cpu') -> str:
    """Name the processor of a device, as far as the system tells."""
    if torch.device(device).type == 'cuda':
        return str(torch.cuda.get_device_name(device))
    # What Python knows on Linux is the architecture, at best.
    information = Path('/proc/cpuinfo')
    lines = information.read_text().splitlines() if information.is_file() else []
    names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(names, '') or platform.processor() or 'of unknown name'


def describe_machine(device: str | torch.device = 'cpu', *packages: str) -> str:
    """Say on what times were measured: system, processor, threads, versions."""
    device = torch.device(device)
    facts = [
        f'{platform.system()} {platform.machine()}',
        f'{device.type} {processor_name(device)}',
        f'{os.cpu_count()} cores',
        f'{torch.get_num_threads()} threads',
        f'load {os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else 'load unknown',
        f'mmsamdistill {__version__}',
        f'Python {platform.python_version()}',
    ]
    versions = {name: package_version(name) for name in ('torch', 'mmengine', *packages)}
    facts += [f'{name} {found}' if found else f'no {name}' for name, found in versions.items()]
    return ', '.join(facts)
