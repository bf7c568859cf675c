"""Make tables and figures of benchmarks from the results of their runs.

    python benchmarks/report.py benchmarks/bsds500/tables/*.py --out reports

Gains are paired by seed, with their standard error; nothing is typed by hand. Of several tables,
those that have no results yet are left out, and an overview of the gains in domain is added.
"""

import argparse
from pathlib import Path

# First, since it prepares MMEngine and MMagic for what follows.
import mmsamdistill  # noqa: F401

# isort: split
from lab.figure import draw_gains
from lab.overview import overview
from lab.results import Result, read_results
from lab.summary import compare_rows, summarise
from lab.table import Table, load_table
from mmsamdistill.command_line import check_output, run
from mmsamdistill.evaluation.report import to_markdown, write_report


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'tables', nargs='+', help='files of tables; names that begin with _ are skipped'
    )
    parser.add_argument('--results', default='work_dirs/benchmarks', help='where the results are')
    parser.add_argument('--out', help='folder to write TABLE.md, .csv, .json and .png to')
    return parser.parse_args()


def report_table(table: Table, results: list[Result], out: str | None) -> None:
    """Print a table and its questions, in PSNR and SSIM; write them, and the figure."""
    titles = {name: row.title for name, row in table.rows.items()}
    rows = summarise(results, titles, table.in_domain)
    comparisons = compare_rows(results, titles, table.compare)
    notes = [to_markdown(comparisons)] if comparisons else []
    if any('SSIM' in scores for result in results for scores in result.student.values()):
        ssim = [summarise(results, titles, table.in_domain, metric='SSIM')]
        ssim.append(compare_rows(results, titles, table.compare, metric='SSIM'))
        notes += ['SSIM:', *[to_markdown(each) for each in ssim if each]]
    notes += [f'- {row.title}: {row.note}' for row in table.rows.values() if row.note]
    heading = f'{table.title}: PSNR in dB, mean ± standard error over seeds'
    print('\n\n'.join([heading, to_markdown(rows), *notes]) + '\n')
    if out is None:
        return
    meta = {
        'title': table.title,
        'comparisons': comparisons,
        'environments': _distinct([result.environment for result in results]),
    }
    write_report(Path(out, table.name), rows, meta, notes=notes)
    draw_gains(results, titles, table.in_domain, Path(out, table.name))


def main() -> None:
    """Read, compute, write."""
    args = parse_args()
    if args.out:
        check_output('--out', args.out, folder=True)
    tables = [load_table(path) for path in args.tables if not Path(path).name.startswith('_')]
    if len(tables) > 1:
        tables = [table for table in tables if Path(args.results, table.name).is_dir()]
    if not tables:
        raise SystemExit(f'report: no results of these tables in {args.results}')
    results = {table.name: read_results([Path(args.results, table.name)]) for table in tables}
    for table in tables:
        report_table(table, results[table.name], args.out)
    if len(tables) > 1:
        compared = [table for table in tables if table.overview]
        rows = overview(compared, results)
        print('Gains in domain over the plain network, dB\n\n' + to_markdown(rows))
        if args.out:
            titles = {table.name: table.title for table in compared}
            write_report(Path(args.out, 'overview'), rows, {'tables': titles})
    if args.out:
        print(f'written: {args.out}')


def _distinct(environments: list) -> list[dict]:
    return [dict(pairs) for pairs in dict.fromkeys(tuple(each.items()) for each in environments)]


if __name__ == '__main__':
    run(main)
