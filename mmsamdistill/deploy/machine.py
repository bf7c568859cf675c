"""On what times were measured."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mmsamdistill.version import __version__


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


def package_version(name: str) -> str | None:
    """Version of an installed distribution; None if it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
