"""On what times were measured."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mmsamdistill.version import __version__


def processor_name(device: str | torch.device = 'cpu') -> str:
    """Name the processor of a device, as far as the system tells.

    Args:
        device: A CUDA device, or any other: then it is the CPU that is named.

    Returns:
        Its name, or ``'of unknown name'``.
    """
    if torch.device(device).type == 'cuda':
        return str(torch.cuda.get_device_name(device))
    # What Python knows on Linux is the architecture, at best.
    information = Path('/proc/cpuinfo')
    lines = information.read_text().splitlines() if information.is_file() else []
    names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(names, '') or platform.processor() or 'of unknown name'


def describe_machine(device: str | torch.device = 'cpu', *packages: str) -> str:
    """Say on what times were measured: system, processor, threads, versions.

    Args:
        device: Where the networks ran.
        packages: Distributions that matter besides this one, torch and MMEngine.

    Returns:
        One line of text.
    """
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
    for name in ('torch', 'mmengine', *packages):
        try:
            facts.append(f'{name} {version(name)}')
        except PackageNotFoundError:
            facts.append(f'no {name}')
    return ', '.join(facts)
