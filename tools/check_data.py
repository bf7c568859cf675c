"""Check the data of a config before training: folders, pairs, files, sizes and region maps."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from mmsamdistill_command import add_config_options


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='The exit code is 0 if every data set can be trained or tested on, 1 if one cannot, '
        '2 if the config cannot be understood.',
    )
    parser.add_argument('config', help='path of the config')
    parser.add_argument(
        '--split',
        choices=['train', 'val', 'test', 'all'],
        default='all',
        help='which data to check',
    )
    parser.add_argument(
        '--full', action='store_true', help='decode every file, not only its header and its end'
    )
    parser.add_argument(
        '--strict', action='store_true', help='also fail for grey, transparent and 16-bit images'
    )
    parser.add_argument('--workers', type=int, default=8, help='threads that read (default: 8)')
    add_config_options(parser)
    return parser.parse_args(arguments)


if __name__ == '__main__':  # before anything heavy is imported, so that help costs nothing
    parse_args()

# First, since it prepares MMEngine and MMagic for what follows.
import mmsamdistill  # noqa: F401

# isort: split
from mmengine.registry import init_default_scope
from tqdm import tqdm

from mmsamdistill.command_line import UsageError, read_config, run
from mmsamdistill.data_check import DataReport, check_data
from mmsamdistill.data_check.files import SPLITS
from mmsamdistill.evaluation.report import to_markdown


def show_progress(items: Iterable[Any], title: str, total: int) -> Iterable[Any]:
    """Show throughput and remaining time, and nothing once it is done."""
    return tqdm(items, title, total, leave=False, unit='sample', dynamic_ncols=True)


def table_row(report: DataReport, strict: bool) -> dict[str, Any]:
    """One line of the table: counts of what was found."""
    names = ('missing', 'extra', 'unreadable', 'sizes', 'small', 'regions', 'remarks')
    ok = report.ok and not (strict and report.remarks)
    return {
        'split': report.split,
        'data': report.name,
        'samples': report.samples,
        'images': len(report.files),
        **{name: len(dict.fromkeys(getattr(report, name))) for name in names},
        'result': 'ok' if ok else 'FAILED' + ''.join(f': {e}' for e in report.errors[:1]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, say what is wrong, print the table."""
    args = parse_args(arguments)
    cfg = read_config(args.config, args.cfg_options, needs=())
    init_default_scope(cfg.get('default_scope', 'mmagic'))
    splits = SPLITS if args.split == 'all' else (args.split,)
    options = {'full': args.full, 'workers': args.workers, 'track': show_progress}
    reports = check_data(cfg, splits, **options)
    if not reports:
        raise UsageError(f'{args.config} has no data for {args.split}')
    rows = [table_row(report, args.strict) for report in reports]
    print('\n'.join(map(str, reports)) + '\n\n' + to_markdown(rows))
    if any(report.errors for report in reports):
        print('\nWhere each data set belongs, and how region maps are made: docs/data.md')
    return 0 if all(row['result'] == 'ok' for row in rows) else 1


if __name__ == '__main__':
    run(main, failed=2)
