"""Test a restorer, plain or distilled, on every test set of its config."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

# First, since it prepares MMEngine and MMagic for what follows.
import mmsamdistill

# isort: split
import mmengine
import torch
from mmengine.config import Config, DictAction
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmsamdistill.evaluation import protocol_labels
from mmsamdistill.evaluation.report import metric_rows, to_markdown, write_report
from mmsamdistill.export import plain_config
from mmsamdistill.weights import load_plain


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='weights: of the cascade, exported, or official')
    parser.add_argument('--work-dir', help='where logs go')
    parser.add_argument('--out', help='write the table to OUT.json, OUT.csv and OUT.md')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value, nested keys joined by dots',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='launcher'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def load_config(args: argparse.Namespace) -> Config:
    """Merge the config file with the command line."""
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(args.config).stem))
    # Weights are loaded here, in any dialect and completely; the Runner would do neither.
    cfg.load_from = None
    cfg.resume = False
    # Of a cascade only the student is built: what is tested is what is deployed.
    return plain_config(cfg)


class KeepMetrics(Hook):
    """Keep what the test loop computed; MMagic's loop returns nothing."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Take the metrics."""
        self.metrics.update(metrics or {})


def list_metrics(runner: Runner) -> list[tuple[Any, int]]:
    """List the metrics of all test sets, each with the number of its images."""
    loop = runner.test_loop
    dataloaders = getattr(loop, 'dataloaders', None) or [loop.dataloader]
    evaluators = getattr(loop, 'evaluators', None) or [loop.evaluator]
    pairs = zip(dataloaders, evaluators, strict=True)
    return [(metric, len(data.dataset)) for data, each in pairs for metric in each.metrics]


def images_of(metrics: list[Any]) -> dict[str, list[dict[str, Any]]]:
    """Collect what the metrics tell of single images, by data set."""
    found: dict[str, list[dict[str, Any]]] = {}
    for metric in metrics:
        rows = getattr(metric, 'per_image', None)
        if rows:
            # Several metrics of one data set saw the same images in the same order.
            merged = found.setdefault(metric.prefix or 'test', [{} for _ in rows])
            for known, row in zip(merged, rows, strict=True):
                known.update(row)
    return found


def describe(args: argparse.Namespace, metrics: list[Any]) -> dict[str, Any]:
    """State what the numbers depend on."""
    protocols = [metric.protocol for metric in metrics if hasattr(metric, 'protocol')]
    return {
        'protocols': {protocol.name: protocol.describe() for protocol in protocols},
        'config': args.config,
        'checkpoint': args.checkpoint,
        'versions': {
            'mmsamdistill': mmsamdistill.__version__,
            'mmengine': mmengine.__version__,
            'torch': torch.__version__,
        },
    }


def main() -> None:
    """Test, print the table, write it if asked to."""
    args = parse_args()
    runner = Runner.from_cfg(load_config(args))
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    load_plain(model, args.checkpoint)
    kept = KeepMetrics()
    runner.register_hook(kept)
    runner.test()
    if runner.rank != 0:
        return
    listed = list_metrics(runner)
    metrics = [metric for metric, _ in listed]
    counts = {metric.prefix or 'test': count for metric, count in listed}
    rows = metric_rows(kept.metrics, counts, protocols=protocol_labels(metrics))
    print('\n' + to_markdown(rows))
    if args.out:
        paths = write_report(args.out, rows, describe(args, metrics), images_of(metrics))
        print('written: ' + ', '.join(map(str, paths)))


if __name__ == '__main__':
    main()
