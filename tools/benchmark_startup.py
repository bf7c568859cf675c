"""Measure how long tools/train.py takes to its first training step, lazily and as MMagic does.

Three kinds of fresh interpreters, run in turn in the same environment:

imports    torch and MMEngine's runner, nothing else: the floor.
lazy       tools/train.py CONFIG, up to the end of the first training iteration.
eager      the same, with all of MMagic's editors imported first. The editors that cannot be imported
           here are skipped, as MMagic would not get past them: where diffusion libraries are absent
           or too new, this understates what MMagic's own way would cost.

    python tools/benchmark_startup.py configs/demo/nafnet_denoise_samdistill.py --repeats 3
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TRAIN = Path(__file__).resolve().with_name('train.py')
MARK = 'first training step finished'
# Run inside the measured interpreter: leave as soon as the first iteration is done.
CHILD = """
import os, runpy, sys
if {eager!r}:
    from mmsamdistill import compat
    compat.unavailable_editors()
sys.argv[0] = {train!r}
tool = runpy.run_path({train!r}, run_name='tool')
from mmengine.hooks import Hook
from mmengine.runner import Runner

class LeaveAfterFirstStep(Hook):
    def after_train_iter(self, *args, **kwargs):
        print({mark!r}, flush=True)
        os._exit(0)

def train(runner):
    runner.register_hook(LeaveAfterFirstStep(), priority='LOWEST')
    return original(runner)

original, Runner.train = Runner.train, train
tool['main']()
"""
IMPORTS = f'import torch, mmengine.runner; print({MARK!r}, flush=True)'
PACKAGES = (
    'torch',
    'numpy',
    'mmengine',
    'mmcv-lite',
    'mmcv',
    'mmagic',
    'diffusers',
    'transformers',
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='training config; its data must be in place')
    parser.add_argument('--repeats', type=int, default=3, help='runs of each kind')
    parser.add_argument('--keep-output', action='store_true', help="show the runs' own output")
    parser.add_argument('--cfg-options', nargs='+', default=[], help='handed on to tools/train.py')
    return parser.parse_args()


def measure(kind: str, args: argparse.Namespace) -> float:
    """Time one fresh interpreter from its start to the mark it prints.

    Args:
        kind: 'imports', 'lazy' or 'eager'.
        args: The command line.

    Returns:
        Seconds.

    Raises:
        SystemExit: The run ended without reaching its first step; shows the end of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-c', IMPORTS]
        if kind != 'imports':
            code = CHILD.format(eager=kind == 'eager', train=str(TRAIN), mark=MARK)
            command[2:] = [code, args.config, '--work-dir', folder]
            command += ['--cfg-options', *args.cfg_options] if args.cfg_options else []
        environment = {**os.environ, 'PYTHONPATH': _python_path()}
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        lines = []
        for line in process.stdout:
            if args.keep_output:
                print(line, end='')
            lines.append(line)
            if line.strip() == MARK:
                seconds = time.perf_counter() - start
                process.communicate()
                return seconds
        process.wait()
    raise SystemExit(f'{kind}: no training step was reached\n{"".join(lines[-30:])}')


def _python_path() -> str:
    return os.pathsep.join([str(TRAIN.parents[1]), os.environ.get('PYTHONPATH', '')]).rstrip(':')


def describe_machine() -> str:
    """Say on what the figures were measured."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f'{name} {version(name)}')
        except PackageNotFoundError:
            found.append(f'no {name}')
    threads = os.environ.get('OMP_NUM_THREADS', 'default')
    return (
        f'{platform.platform()}, {os.cpu_count()} cores, OMP_NUM_THREADS {threads}, '
        f'Python {platform.python_version()}, {", ".join(found)}'
    )


def main() -> None:
    """Measure and print the table."""
    args = parse_args()
    kinds = ('imports', 'lazy', 'eager')
    for kind in kinds:  # once unmeasured: byte code written, files in the disk cache
        measure(kind, args)
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for round_number in range(args.repeats):
        for kind in kinds:
            seconds[kind].append(measure(kind, args))
        print(f'round {round_number + 1} of {args.repeats} done', file=sys.stderr)
    print(f'{describe_machine()}\n\n| start-up | median s | min s | max s |\n|---|---|---|---|')
    for kind, values in seconds.items():
        print(
            f'| {kind} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |'
        )
    ratio = statistics.median(seconds['lazy']) / statistics.median(seconds['eager'])
    print(f'\nlazy / eager = {ratio:.2f}')


if __name__ == '__main__':
    main()
