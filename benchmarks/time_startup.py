"""Measure how long tools/train.py takes to its first training step, lazily and as MMagic does.

Three kinds of fresh interpreters, run in turn in the same environment:

imports    torch and MMEngine's runner, nothing else: the floor.
lazy       tools/train.py CONFIG, up to the end of the first training iteration.
eager      the same, after every package that MMagic's registries import at their first look-up was
           executed as it is written: all editors of mmagic.models, all classes of diffusers where
           it is installed, all datasets, transforms, metrics and hooks. What cannot be imported
           here is skipped; MMagic itself would stop there.

A second table says in which part of the lazy start processor time goes, for every config given.

    python benchmarks/time_startup.py configs/demo/nafnet_denoise_samdistill.py --repeats 3
    python benchmarks/time_startup.py configs/demo/nafnet_denoise.py DISTILLED --parts-only
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mmsamdistill.deploy.cost import describe_machine
from mmsamdistill.evaluation.report import to_markdown

TRAIN = Path(__file__).resolve().parents[1] / 'tools/train.py'
MARK = 'first training step finished'
PART = 'part of the start: '
# Run inside the measured interpreter: leave as soon as the first iteration is done.
CHILD = """
import os, runpy, sys, time
def part(name):
    print({part!r} + name + '=' + str(time.process_time()), flush=True)
part('interpreter')
import torch, mmengine.runner
part('torch and MMEngine')
if {eager!r}:
    import importlib
    import mmsamdistill
    for name in {packages!r}:
        try:
            importlib.import_module(name).run_own_statements()
        except Exception as error:
            print('skipped', name, type(error).__name__)
sys.argv[0] = {train!r}
tool = runpy.run_path({train!r}, run_name='tool')
from mmengine.hooks import Hook
from mmengine.runner import Runner
part("the tool's imports")

class LeaveAfterFirstStep(Hook):
    def before_train(self, *args, **kwargs):
        part('model, data sets, hooks before training')

    def before_train_iter(self, *args, **kwargs):
        part('first batch')

    def after_train_iter(self, *args, **kwargs):
        part('first step')
        print({mark!r}, flush=True)
        os._exit(0)

def train(runner):
    part('config and runner')
    runner.register_hook(LeaveAfterFirstStep(), priority='LOWEST')
    return original(runner)

original, Runner.train = Runner.train, train
tool['main']()
"""
PACKAGES = (
    'mmagic.utils',
    'mmagic.models.archs',
    'mmagic.models.editors',
    'mmagic.models',
    'mmagic.datasets.transforms',
    'mmagic.datasets',
    'mmagic.evaluation',
    'mmagic.engine',
    'mmagic.visualization',
)
IMPORTS = f'import torch, mmengine.runner; print({MARK!r}, flush=True)'
VERSIONS = (
    'numpy',
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
    parser.add_argument('config', nargs='+', help='training configs; their data must be in place')
    parser.add_argument('--parts-only', action='store_true', help='the second table alone')
    parser.add_argument('--repeats', type=int, default=3, help='runs of each kind')
    parser.add_argument('--keep-output', action='store_true', help="show the runs' own output")
    parser.add_argument('--cfg-options', nargs='+', default=[], help='handed on to tools/train.py')
    return parser.parse_args()


def measure(
    kind: str, config: str, args: argparse.Namespace
) -> tuple[float, float, dict[str, float]]:
    """Time one fresh interpreter from its start to the mark it prints.

    Args:
        kind: 'imports', 'lazy' or 'eager'.
        config: What is trained.
        args: The command line.

    Returns:
        Seconds by the clock, seconds of processor time, which other programs disturb less, and how
        much of the latter the main process has spent at the end of each part.

    Raises:
        SystemExit: The run ended without reaching its first step; shows the end of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-c', IMPORTS]
        if kind != 'imports':
            code = CHILD.format(
                eager=kind == 'eager', packages=PACKAGES, train=str(TRAIN), mark=MARK, part=PART
            )
            command[2:] = [code, config, '--work-dir', folder]
            command += ['--cfg-options', *args.cfg_options] if args.cfg_options else []
        environment = {**os.environ, 'PYTHONPATH': _python_path()}
        start, busy = time.perf_counter(), _processor_seconds()
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
                found = (each[len(PART) :].split('=') for each in lines if each.startswith(PART))
                parts = {name: float(end) for name, end in found}
                return seconds, _processor_seconds() - busy, parts
        process.wait()
    raise SystemExit(f'{kind}: no training step was reached\n{"".join(lines[-30:])}')


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _python_path() -> str:
    return os.pathsep.join([str(TRAIN.parents[1]), os.environ.get('PYTHONPATH', '')]).rstrip(':')


def main() -> None:
    """Measure and print the tables."""
    args = parse_args()
    print(describe_machine('cpu', *VERSIONS))
    if not args.parts_only:
        compare_kinds(args)
    compare_parts(args)


def compare_parts(args: argparse.Namespace) -> None:
    """Print the processor time of each part of the lazy start, medians over the repeats."""
    columns = {}
    for config in args.config:
        runs = [measure('lazy', config, args)[2] for _ in range(args.repeats + 1)][1:]
        ends = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        starts = dict(zip(ends, [0.0, *ends.values()], strict=False))
        columns[Path(config).stem] = {name: end - starts[name] for name, end in ends.items()}
        columns[Path(config).stem]['together'] = max(ends.values())
    names = next(iter(columns.values()))
    rows = [
        {'processor s': name, **{key: f'{column[name]:.2f}' for key, column in columns.items()}}
        for name in names
    ]
    print('\n' + to_markdown(rows))


def compare_kinds(args: argparse.Namespace) -> None:
    """Print the table of the three kinds of interpreters, for the first config."""
    kinds, config = ('imports', 'lazy', 'eager'), args.config[0]
    for kind in kinds:  # once unmeasured: byte code written, files in the disk cache
        measure(kind, config, args)
    runs: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for round_number in range(args.repeats):
        for kind in kinds:
            runs[kind].append(measure(kind, config, args)[:2])
        print(f'round {round_number + 1} of {args.repeats} done', file=sys.stderr)
    print('\n| start-up | median s | min s | max s | median processor s |\n|---|---|---|---|---|')
    medians = {}
    for kind, pairs in runs.items():
        clock, processor = zip(*pairs, strict=True)
        medians[kind] = statistics.median(clock), statistics.median(processor)
        figures = (medians[kind][0], min(clock), max(clock), medians[kind][1])
        print(f'| {kind} | {" | ".join(f"{figure:.2f}" for figure in figures)} |')
    by_clock, by_processor = (a / b for a, b in zip(medians['lazy'], medians['eager'], strict=True))
    print(f'\nlazy / eager = {by_clock:.2f} by the clock, {by_processor:.2f} in processor time')


if __name__ == '__main__':
    main()
