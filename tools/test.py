"""Test a restorer, plain or distilled, on every test set of its config, into one table."""

import argparse
import math
import os
from pathlib import Path
from typing import Any

from mmsamdistill_command import add_config_options, add_launcher


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='weights: of the cascade, exported, or official')
    parser.add_argument('--work-dir', help='where logs go')
    parser.add_argument('--out', help='write the table to OUT.json, OUT.csv and OUT.md')
    parser.add_argument(
        '--skip-missing',
        action='store_true',
        help='leave test sets out whose folders are missing, and say so beside the table',
    )
    add_launcher(parser)
    add_config_options(parser)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


if __name__ == '__main__':  # before anything heavy is imported, so that help costs nothing
    parse_args()

# First, since it prepares MMEngine and MMagic for what follows.
import mmsamdistill

# isort: split
import mmengine
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from tqdm import tqdm

from mmsamdistill.command_line import check_launcher, check_output, read_config, run
from mmsamdistill.data_check.preflight import check_prefixes, check_test_files, without_missing_sets
from mmsamdistill.deploy.export import plain_config
from mmsamdistill.evaluation import protocol_labels
from mmsamdistill.evaluation.report import metric_rows, to_markdown, write_report
from mmsamdistill.weights import load_plain


def load_config(args: argparse.Namespace) -> Config:
    """Merge the config file with the command line."""
    check_launcher(args.launcher)
    if args.out:
        check_output('--out', f'{args.out}.json')
    cfg = read_config(args.config, args.cfg_options, ('model', 'test_dataloader', 'test_evaluator'))
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(args.config).stem))
    check_output('--work-dir', cfg.work_dir, folder=True)
    # Weights are loaded here, in any dialect and completely; the Runner would do neither.
    cfg.load_from = None
    cfg.resume = False
    # Of a cascade only the student is built: what is tested is what is deployed.
    return plain_config(cfg)


def ready_config(args: argparse.Namespace) -> tuple[Config, list[str]]:
    """Load the config and make sure that its test sets can be tested, before anything is built."""
    cfg = load_config(args)
    init_default_scope(cfg.get('default_scope', 'mmagic'))
    cfg, skipped = without_missing_sets(cfg, args.skip_missing)
    check_test_files(cfg)
    return cfg, skipped


class ShowProgress(Hook):
    """One bar over the batches of all test sets, naming the set at hand."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Open the bar at the first batch, when the loop knows how many there are."""
        loop = runner.test_loop
        if self.bar is None:
            total = getattr(loop, 'total_length', None) or len(loop.dataloader)
            self.bar = tqdm(total=total, unit='batch', disable=runner.rank != 0)
        metrics = loop.evaluator.metrics or []
        self.bar.set_description(next((m.prefix for m in metrics if m.prefix), 'test'), False)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Move on."""
        self.bar.update()

    def after_test(self, runner: Runner) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class KeepMetrics(Hook):
    """Keep what the test loop computed; MMagic's loop returns nothing."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Take the metrics."""
        self.metrics.update(metrics or {})


def list_test_sets(runner: Runner) -> list[tuple[Any, list[Any]]]:
    """List the dataset of each test set with its metrics."""
    loop = runner.test_loop
    dataloaders = getattr(loop, 'dataloaders', None) or [loop.dataloader]
    evaluators = getattr(loop, 'evaluators', None) or [loop.evaluator]
    pairs = zip(dataloaders, evaluators, strict=True)
    return [(data.dataset, list(each.metrics or [])) for data, each in pairs]


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


def classes_of(metrics: list[Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Collect what the metrics tell of single classes, by data set; None for absent ones."""
    return {
        metric.prefix or 'test': {
            label: {name: value if math.isfinite(value) else None for name, value in each.items()}
            for label, each in metric.per_class.items()
        }
        for metric in metrics
        if getattr(metric, 'per_class', None)
    }


def failures_of(metrics: list[Any], found: dict[str, float]) -> list[str]:
    """Name what could not be measured: images with their reasons, and means that are no numbers."""
    lines = [
        f'{metric.prefix or "test"}: {path}: {reason}'
        for metric in metrics
        for path, reason in getattr(metric, 'failures', {}).items()
    ]
    lines += [f'{name} is no number' for name, value in found.items() if math.isnan(value)]
    return list(dict.fromkeys(lines))


def describe(args: argparse.Namespace, metrics: list[Any], skipped: list[str]) -> dict[str, Any]:
    """State what the numbers depend on."""
    protocols = [metric.protocol for metric in metrics if hasattr(metric, 'protocol')]
    per_class = classes_of(metrics)
    return {
        'protocols': {protocol.name: protocol.describe() for protocol in protocols},
        'config': args.config,
        'checkpoint': args.checkpoint,
        **({'skipped': skipped} if skipped else {}),
        **({'per_class': per_class} if per_class else {}),
        'versions': {
            'mmsamdistill': mmsamdistill.__version__,
            'mmengine': mmengine.__version__,
            'torch': torch.__version__,
        },
    }


def run_test(args: argparse.Namespace, cfg: Config) -> tuple[Runner, dict[str, float]]:
    """Build, load the weights and test; gives the metrics of all test sets."""
    runner = Runner.from_cfg(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    load_plain(model, args.checkpoint)
    sets = list_test_sets(runner)
    check_prefixes([metrics for _, metrics in sets])
    kept = KeepMetrics()
    runner.register_hook(kept)
    runner.register_hook(ShowProgress())
    runner.test()
    return runner, kept.metrics


def main() -> int:
    """Test, print the table, write it if asked to; fails if something could not be measured."""
    args = parse_args()
    cfg, skipped = ready_config(args)
    runner, found = run_test(args, cfg)
    if runner.rank != 0:
        return 0
    sets = list_test_sets(runner)
    metrics = [metric for _, each in sets for metric in each]
    counts = {metric.prefix or 'test': len(data) for data, each in sets for metric in each}
    rows = metric_rows(found, counts, protocols=protocol_labels(metrics))
    failures = failures_of(metrics, found)
    notes = [f'Skipped, because it is missing: {each}' for each in skipped]
    notes += [f'FAILED: {each}' for each in failures]
    print('\n' + '\n\n'.join([to_markdown(rows), *notes]))
    if args.out:
        meta = {**describe(args, metrics, skipped), **({'failures': failures} if failures else {})}
        paths = write_report(args.out, rows, meta, images_of(metrics), notes)
        print('written: ' + ', '.join(map(str, paths)))
    return 1 if failures else 0


if __name__ == '__main__':
    run(main)
