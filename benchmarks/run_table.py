"""Train and test the rows of a table of benchmarks; run again, it goes on where it was stopped.

    python benchmarks/run_table.py benchmarks/bsds500/tables/noise50.py --jobs 2

One row and seed alone, for a cluster's scheduler: --rows plain --seeds 0. The table itself is made
by benchmarks/report.py from the results.
"""

import argparse
import os
import sys
from pathlib import Path

# First, since it prepares MMEngine and MMagic for what follows.
import mmsamdistill  # noqa: F401

# isort: split
import torch

from lab.run import run_row
from lab.schedule import pending_runs, run_all
from lab.table import load_table


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('table', help='file of the table')
    parser.add_argument('--rows', nargs='+', help='which rows (default: all)')
    parser.add_argument('--seeds', nargs='+', type=int, help="which seeds (default: the table's)")
    parser.add_argument(
        '--out', default='work_dirs/benchmarks', help='where results go (default: %(default)s)'
    )
    parser.add_argument('--jobs', type=int, default=1, help='runs at the same time')
    parser.add_argument('--threads', type=int, default=1, help='threads of each run on a CPU')
    parser.add_argument('--in-process', action='store_true', help=argparse.SUPPRESS)
    return parser.parse_args()


def command(args: argparse.Namespace, row: str, seed: int) -> list[str]:
    """Write down the command that runs one row with one seed."""
    settings = ['--rows', row, '--seeds', str(seed), '--out', args.out]
    return [__file__, args.table, *settings, '--threads', str(args.threads), '--in-process']


def main() -> None:
    """Run what has no result yet."""
    args = parse_args()
    table = load_table(args.table)
    rows, seeds = args.rows or list(table.rows), args.seeds or table.seeds
    if args.in_process:
        torch.set_num_threads(args.threads)
        run_row(table, rows[0], seeds[0], args.out)
        return
    # Set for the children, before their libraries start threads.
    os.environ.update(OMP_NUM_THREADS=str(args.threads), OMP_WAIT_POLICY='PASSIVE')
    try:
        runs = pending_runs(table, rows, seeds, args.out)
    except KeyError as error:
        raise SystemExit(f'benchmark: {error.args[0]}') from error
    failed = run_all(
        table,
        runs,
        args.out,
        args.jobs,
        lambda row, seed: command(args, row, seed),
        lambda line: print(line, flush=True),
    )
    print(f'results: {Path(args.out, table.name)}')
    if failed:
        sys.exit(f'benchmark: {len(failed)} of {len(runs)} runs have failed, see above')


if __name__ == '__main__':
    main()
