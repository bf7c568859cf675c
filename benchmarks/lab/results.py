"""What a run leaves behind: one JSON file, from which every table and figure is made."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmsamdistill.files import parse_json, write_atomically

Scores = Mapping[str, Mapping[str, float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """One run.

    Args:
        table: Name of its table.
        row: Name of its row.
        seed: Its seed.
        iterations: Number of iterations; 0 if nothing was trained.
        seconds_per_iteration: Median, data loading included.
        seconds_before: Of training that went into the weights this run started from.
        student: Scores of the deployed network: test set, metric, value. Empty where only a teacher
            was trained.
        teacher: The same of the teacher in domain; empty for a plain run.
        curve: Validations during training, each with its ``iteration``.
        collapse: None, or what :class:`~mmsamdistill.engine.CollapseHook` has found.
        config: Text of the whole config.
        environment: Versions, processor, threads.
    """

    table: str
    row: str
    seed: int
    iterations: int = 0
    seconds_per_iteration: float = 0.0
    seconds_before: float
    student: Scores
    teacher: Scores
    curve: Sequence[Mapping[str, float]] = ()
    collapse: str | None = None
    config: str
    environment: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        """Of training, from the first weights on."""
        return self.seconds_before + self.seconds_per_iteration * self.iterations


def result_path(folder: str | Path, table: str, row: str, seed: int) -> Path:
    """Path of a run's result; what else the run writes lies beside it, in a folder of its name.

    Args:
        folder: Where all results are.
        table: Name of the table.
        row: Name of the row.
        seed: The seed.

    Returns:
        The path.

    Example:
        >>> result_path('results', 'noise50', 'plain', 0).as_posix()
        'results/noise50/plain/seed0.json'
    """
    return Path(folder, table, row, f'seed{seed}.json')


def write_result(folder: str | Path, result: Result) -> Path:
    """Write a result, whole or not at all.

    Args:
        folder: Where all results are.
        result: The result.

    Returns:
        The path that was written.
    """
    path = result_path(folder, result.table, result.row, result.seed)
    text = json.dumps(_strict(dataclasses.asdict(result)), indent=1, allow_nan=False)
    write_atomically(path, (text + '\n').encode())
    return path


def read_results(paths: Iterable[str | Path]) -> list[Result]:
    """Read results.

    Args:
        paths: Files, or folders in which all ``seed*.json`` are read.

    Returns:
        The results, sorted by path.

    Raises:
        FileNotFoundError: If a path does not exist, or a folder has no result.
        ValueError: If a file is no result.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        found = sorted(path.rglob('seed*.json')) if path.is_dir() else [path]
        if not found or not found[0].is_file():
            raise FileNotFoundError(f'{path}: no results; make them by benchmarks/run_table.py')
        files += found
    return [_read(path) for path in files]


def _read(path: Path) -> Result:
    try:
        content = parse_json(path.read_bytes(), path)
        return _checked(Result(**content))
    except (TypeError, ValueError) as error:
        raise ValueError(f'{path} is no result of benchmarks/run_table.py: {error}') from error


def _checked(result: Result) -> Result:
    """Require the types that tables are made from."""
    kinds: dict[str, Any] = {
        'table': str,
        'row': str,
        'seed': int,
        'iterations': int,
        'config': str,
    }
    kinds |= {'seconds_per_iteration': int | float, 'seconds_before': int | float}
    kinds |= {'environment': dict, 'student': dict, 'teacher': dict}
    for name, kind in kinds.items():
        if not isinstance(getattr(result, name), kind):
            raise TypeError(f'{name} is {getattr(result, name)!r:.60}')
    odd = {
        key: value for key, value in result.environment.items() if isinstance(value, dict | list)
    }
    if odd:
        raise TypeError(f'environment has {odd!r:.60}')
    points = result.curve if isinstance(result.curve, list | tuple) else [None]
    for scores in (*result.student.values(), *result.teacher.values(), *points):
        if not isinstance(scores, dict) or not all(
            isinstance(value, int | float | None) for value in scores.values()
        ):
            raise TypeError(f'scores are {scores!r:.60}')
    return result


def _strict(value: Any) -> Any:
    # Strict JSON has no NaN; a collapsed run must be written down all the same.
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _strict(each) for key, each in value.items()}
    return [_strict(each) for each in value] if isinstance(value, (list, tuple)) else value
