"""One run of a table: train, test student and teacher, write the result."""

import copy
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

import lab.self_training  # noqa: F401  (registers a model)
from lab.results import Result, read_results, result_path, write_result
from lab.table import Table, row_config
from mmsamdistill.deploy.cost import processor_name
from mmsamdistill.version import __version__

PACKAGES = ('torch', 'mmengine', 'mmagic', 'numpy')


class KeepCurve(Hook):
    """Keeps the validations of a run, and its time per iteration."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.curve: list[dict[str, float]] = []

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Take the metrics.

        Args:
            runner: The Runner.
            metrics: The validation's metrics, the teacher's among them.
        """
        self.curve.append({'iteration': runner.iter, **(metrics or {})})


def run_row(table: Table, name: str, seed: int, folder: str | Path) -> Path:
    """Train a row once and write its result; a finished one is left as it is.

    An interrupted run is resumed from its last checkpoint. The curve of a resumed run starts where
    it was resumed. If another process is at the same run, its result is waited for.

    Args:
        table: The table.
        name: The row.
        seed: The seed.
        folder: Where all results are.

    Returns:
        Path of the result.

    Raises:
        FileNotFoundError: If the row needs another one that has not run yet.
    """
    path = result_path(folder, table.name, name, seed)
    lock = path.with_suffix('') / 'lock'
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        if not path.is_file():
            write_result(folder, _run(table, name, seed, folder))
    return path


@torch.no_grad()
def measure_network(
    runner: Runner, predict: Callable[..., list], only: str | None = None
) -> dict[str, dict[str, float]]:
    """Measure one of a model's networks on the test sets of the config.

    Args:
        runner: The Runner.
        predict: From ``inputs`` and ``data_samples`` to predicted data samples.
        only: Name of the one test set to measure on. Default: all.

    Returns:
        For each test set its metrics.
    """
    loop = runner.test_loop
    scores: dict[str, dict[str, float]] = {}
    runner.model.eval()
    for dataloader, evaluator in zip(loop.dataloaders, loop.evaluators, strict=True):
        if only is not None and only not in [metric.prefix for metric in evaluator.metrics]:
            continue
        for batch in dataloader:
            data = runner.model.data_preprocessor(batch, False)
            outputs = predict(data['inputs'], data['data_samples'])
            for metric in evaluator.metrics:
                metric.process(batch, [output.to_dict() for output in outputs])
        for metric in evaluator.metrics:
            for key, value in metric.evaluate(len(dataloader.dataset)).items():
                dataset, _, name = key.rpartition('/')
                scores.setdefault(dataset, {})[name] = float(value)
    return scores


def _run(table: Table, name: str, seed: int, folder: str | Path) -> Result:
    row = table.rows[name]
    runner = Runner.from_cfg(_config(table, name, seed, folder))
    model = runner.model
    training: dict[str, Any] = {}
    if row.trained:
        training = _train(runner)
    else:
        # What it gives back is what it was given.
        model.generator = nn.Identity()
    student, teacher = {}, {}
    if getattr(model, 'stage', None) != 'teacher':
        student = measure_network(
            runner, lambda inputs, samples: model(inputs, samples, mode='predict')
        )
    if hasattr(model, 'predict_teacher'):
        teacher = measure_network(runner, model.predict_teacher, only=table.in_domain)
    before = _read(table, row.start_from, seed, folder).seconds if row.start_from else 0.0
    return Result(
        table=table.name,
        row=name,
        seed=seed,
        seconds_before=before,
        student=student,
        teacher=teacher,
        config=_portable(runner.cfg),
        environment=_environment(),
        **training,
    )


def _config(table: Table, name: str, seed: int, folder: str | Path) -> Config:
    row = table.rows[name]
    for other in row.needs:
        if not result_path(folder, table.name, other, seed).is_file():
            raise FileNotFoundError(
                f'row {name!r} needs the result of {other!r} with seed {seed}: run that first'
            )
    cfg = row_config(
        table,
        name,
        seed,
        load_from=_checkpoint(folder, table.name, row.start_from, seed),
    )
    cfg.work_dir = str(result_path(folder, table.name, name, seed).with_suffix(''))
    cfg.experiment_name = f'{table.name}-{name}-{seed}'
    # The newest checkpoint of an interrupted run wins over the weights to start from.
    if Path(cfg.work_dir, 'last_checkpoint').is_file():
        cfg.resume, cfg.load_from = True, None
    return cfg


def _train(runner: Runner) -> dict[str, Any]:
    kept = KeepCurve()
    runner.register_hook(kept, priority='LOWEST')
    runner.train()
    times = runner.message_hub.get_scalar('train/time').data[0]
    return {
        'iterations': runner.max_iters,
        'seconds_per_iteration': float(np.median(times)),
        'curve': kept.curve,
        'collapse': runner.message_hub.get_info('collapse'),
    }


def _read(table: Table, name: str, seed: int, folder: str | Path) -> Result:
    return read_results([result_path(folder, table.name, name, seed)])[0]


def _checkpoint(folder: str | Path, table: str, row: str | None, seed: int) -> str | None:
    if row is None:
        return None
    last = result_path(folder, table, row, seed).with_suffix('') / 'last_checkpoint'
    return last.read_text(encoding='utf-8').strip()


def _portable(cfg: Config) -> str:
    """Text of a config without what is true on one machine alone."""
    content = copy.deepcopy(cfg._cfg_dict.to_dict())
    for key in ('work_dir', 'load_from', 'resume'):
        content.pop(key, None)
    return Config(content).pretty_text


def _environment() -> dict[str, Any]:
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return {
        'mmsamdistill': __version__,
        **{package: version(package) for package in PACKAGES},
        'python': platform.python_version(),
        'processor': processor_name(device),
        'instructions': torch.backends.cpu.get_cpu_capability() if device == 'cpu' else None,
        'threads': torch.get_num_threads(),
        'cores': os.cpu_count(),
    }
