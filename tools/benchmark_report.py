"""Make the table and the figure of a benchmark from the results of its runs.

    python tools/benchmark_report.py benchmarks/bsds500/tables/noise50.py --out report

Gains are paired by seed, with their standard error; nothing is typed by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

# First, since it prepares MMEngine and MMagic for what follows.
import mmsamdistill  # noqa: F401

# isort: split
from mmsamdistill.benchmark.figure import draw_gains
from mmsamdistill.benchmark.results import read_results
from mmsamdistill.benchmark.summary import compare_rows, summarise
from mmsamdistill.benchmark.table import load_table
from mmsamdistill.evaluation.report import to_markdown, write_report


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('table', help='file of the table')
    parser.add_argument('--results', default='work_dirs/benchmarks', help='where the results are')
    parser.add_argument('--out', help='write OUT.md, OUT.csv, OUT.json and OUT.png')
    return parser.parse_args()


def main() -> None:
    """Read, compute, write."""
    args = parse_args()
    table = load_table(args.table)
    results = read_results([Path(args.results, table.name)])
    titles = {name: row.title for name, row in table.rows.items()}
    rows = summarise(results, titles, table.in_domain)
    print(f'{table.title}: PSNR in dB, mean ± standard error over seeds\n')
    print(to_markdown(rows))
    comparisons = compare_rows(results, titles, table.compare)
    if comparisons:
        print('\n' + to_markdown(comparisons))
    notes = [f'- {row.title}: {row.note}' for row in table.rows.values() if row.note]
    print('\n'.join(['', *notes]))
    if args.out:
        machines = {tuple(result.environment.items()) for result in results}
        meta = {
            'title': table.title,
            'comparisons': comparisons,
            'environments': [dict(pairs) for pairs in machines],
        }
        paths = write_report(args.out, rows, meta)
        paths.append(draw_gains(results, titles, table.in_domain, Path(args.out)))
        print('written: ' + ', '.join(map(str, paths)))


if __name__ == '__main__':
    main()
