"""The order of a table's runs, several at a time."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.results import result_path
from lab.table import Table

Run = tuple[str, int]
# glibc gives large blocks back to the system when they are freed, and gets them anew, page by page,
# for the next layer. Processes side by side then wait for each other in the kernel: measured with
# two trainings on two cores, each took twice as long as with its memory kept.
KEEP_MEMORY = {'MALLOC_MMAP_THRESHOLD_': '4294967296', 'MALLOC_TRIM_THRESHOLD_': '17179869184'}


def pending_runs(
    table: Table, rows: Sequence[str], seeds: Sequence[int], folder: str | Path
) -> list[Run]:
    """List what is still to do: seed after seed, and before each row those that it needs.

    Seed after seed, so that whoever stops early has a whole table of few seeds.

    Args:
        table: The table.
        rows: The rows that are wanted.
        seeds: The seeds that are wanted.
        folder: Where all results are.

    Returns:
        Pairs of row and seed.

    Raises:
        KeyError: If the table has no such row.
    """
    unknown = [name for name in rows if name not in table.rows]
    if unknown:
        raise KeyError(f'table {table.name} has no row {unknown}; it has {list(table.rows)}')
    ordered: list[str] = []
    for name in rows:
        _add_with_needs(table, name, ordered)
    runs = [(name, seed) for seed in seeds for name in ordered]
    return [run for run in runs if not result_path(folder, table.name, *run).is_file()]


def run_all(
    table: Table,
    runs: Sequence[Run],
    folder: str | Path,
    jobs: int,
    command: Callable[[str, int], list[str]],
    report: Callable[[str], None] = print,
) -> list[Run]:
    """Run them, each in a process of its own, as many at a time as told.

    A run starts as soon as those that it needs are done. One that fails takes with it those that
    need it, and no other.

    Args:
        table: The table.
        runs: From :func:`pending_runs`.
        folder: Where all results are; the output of each run goes to a ``.log`` file there.
        jobs: How many run at the same time, above 0.
        command: From a row and a seed to the command that runs them.
        report: Called with a line for each start and end.

    Returns:
        The runs that failed or could not start.

    Raises:
        ValueError: If ``jobs`` is not above 0.
    """
    if jobs < 1:
        raise ValueError(f'jobs must be above 0, got {jobs}')
    waiting, failed = list(runs), []
    running: dict[Run, subprocess.Popen] = {}
    while waiting or running:
        for run in [run for run, process in running.items() if process.poll() is not None]:
            code = running.pop(run).returncode
            end = 'done' if code == 0 else f'failed, see {_log(table, run, folder)}'
            report(f'{_label(table, run)}: {end}')
            failed += [run] * (code != 0)
        for run in list(waiting):
            needs = [(name, run[1]) for name in table.rows[run[0]].needs]
            if any(need in failed for need in needs):
                waiting.remove(run)
                failed.append(run)
                report(f'{_label(table, run)}: left out, since what it needs has failed')
            elif len(running) < jobs and not set(needs) & (set(waiting) | set(running)):
                waiting.remove(run)
                report(f'{_label(table, run)}: started, {len(waiting)} waiting')
                running[run] = _start(command(*run), _log(table, run, folder))
        time.sleep(0.2)
    return failed


def _add_with_needs(table: Table, name: str, ordered: list[str]) -> None:
    for other in table.rows[name].needs:
        _add_with_needs(table, other, ordered)
    if name not in ordered:
        ordered.append(name)


def _start(command: list[str], log: Path) -> subprocess.Popen:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('w', encoding='utf-8') as out:
        return subprocess.Popen(
            [sys.executable, *command],
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**KEEP_MEMORY, **os.environ},
        )


def _log(table: Table, run: Run, folder: str | Path) -> Path:
    return result_path(folder, table.name, *run).with_suffix('.log')


def _label(table: Table, run: Run) -> str:
    return f'{table.name} {run[0]} seed {run[1]}'
