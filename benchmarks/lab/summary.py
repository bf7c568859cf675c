"""From the results of runs to the rows of a table: means, spreads and differences."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence

from lab.results import Result

# What of a run's environment must be the same for times to be compared.
MACHINE = ('processor', 'instructions', 'cores', 'threads', 'torch')
# Decimals that are worth printing.
DIGITS = {'SSIM': 4}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its standard error.

    Args:
        mean: Mean.
        error: Standard error of the mean; None for a single seed.
        count: Number of seeds.
        digits: Decimals of its text.
    """

    mean: float
    error: float | None
    count: int
    digits: int = 2

    def __str__(self) -> str:
        return f'{self.mean:.{self.digits}f}' + self._spread()

    def signed(self) -> str:
        """Text of a difference, with its sign.

        Example:
            >>> estimate([0.1, 0.3]).signed()
            '+0.20 ± 0.10'
        """
        return f'{self.mean:+.{self.digits}f}' + self._spread()

    def _spread(self) -> str:
        return '' if self.error is None else f' ± {self.error:.{self.digits}f}'


def estimate(values: Sequence[float], digits: int = 2) -> Estimate:
    r"""Estimate a mean.

    .. math:: \bar v = \frac{1}{n} \sum_i v_i, \qquad
              e = \sqrt{\frac{\sum_i (v_i - \bar v)^2}{n (n - 1)}}

    Args:
        values: One for each seed, at least one.
        digits: Decimals of the estimate's text.

    Returns:
        The estimate.

    Example:
        >>> estimate([26.0, 26.2]).mean, round(estimate([26.0, 26.2]).error, 6)
        (26.1, 0.1)
    """
    count = len(values)
    error = statistics.stdev(values) / count**0.5 if count > 1 else None
    return Estimate(statistics.fmean(values), error, count, digits)


def difference(
    ours: Mapping[int, float], theirs: Mapping[int, float], digits: int = 2
) -> Estimate | None:
    """Estimate by how much one row exceeds another, seed by seed.

    Runs of one seed share initial weights, crops and noise: their difference has less spread than
    the difference of two means.

    Args:
        ours: Values by seed.
        theirs: Values by seed.
        digits: Decimals of the estimate's text.

    Returns:
        The estimate over the seeds that both have; None if there are none.

    Example:
        >>> difference({0: 26.5, 1: 26.1}, {0: 26.25, 1: 25.85}).mean
        0.25
    """
    shared = sorted(set(ours) & set(theirs))
    return estimate([ours[seed] - theirs[seed] for seed in shared], digits) if shared else None


def values_by_seed(
    results: Iterable[Result], row: str, dataset: str, metric: str = 'PSNR', teacher: bool = False
) -> dict[int, float]:
    """Collect one number of a row's runs.

    Args:
        results: The results of a table.
        row: Name of the row.
        dataset: Name of the test set.
        metric: Name of the metric. Default: PSNR.
        teacher: Of the teacher instead of the student.

    Returns:
        The values by seed; runs without it are left out.
    """
    found = {}
    for result in results:
        scores = (result.teacher if teacher else result.student).get(dataset, {})
        if result.row == row and scores.get(metric) is not None:
            found[result.seed] = scores[metric]
    return found


def summarise(
    results: Sequence[Result],
    rows: Mapping[str, str],
    in_domain: str,
    baseline: str = 'plain',
    metric: str = 'PSNR',
) -> list[dict[str, str | int]]:
    """Make the rows of a table, each beside the baseline.

    Args:
        results: The results of one table.
        rows: Titles of the rows by name, in order; rows without results are left out.
        in_domain: Name of the test set in domain, which comes first.
        baseline: The row that the others are compared with.
        metric: Name of the metric.

    Returns:
        For each row its title, number of seeds, mean and standard error in domain, the paired
        difference to the baseline there and on every other test set, the last validation's mean (of
        photographs by which things may be chosen), the teacher's mean in domain,
        the cost of training as a multiple of the baseline's (medians, where both were measured on
        machines of one kind), and how many runs have collapsed.
    """
    datasets = list(dict.fromkeys(name for result in results for name in result.student))
    others = [name for name in datasets if name != in_domain]
    digits = DIGITS.get(metric, 2)
    table = []
    for name, title in rows.items():
        runs = [result for result in results if result.row == name]
        if not runs:
            continue
        student = values_by_seed(results, name, in_domain, metric)
        teacher = values_by_seed(results, name, in_domain, metric, teacher=True)
        cells: dict[str, str | int] = {'training': title, 'seeds': len(runs)}
        cells[in_domain] = str(estimate(list(student.values()), digits)) if student else ''
        for dataset in [in_domain, *others]:
            gain = difference(
                values_by_seed(results, name, dataset, metric),
                values_by_seed(results, baseline, dataset, metric),
                digits,
            )
            column = 'gain' if dataset == in_domain else f'gain, {dataset}'
            cells[column] = gain.signed() if gain and name != baseline else ''
        # Only where the config names photographs of their own for it, and a student was trained.
        chosen = [run for run in runs if run.curve and run.student and 'held_out' in run.config]
        ends = [run.curve[-1].get(metric) for run in chosen]
        held_out = [value for value in ends if value is not None]
        cells['held out'] = str(estimate(held_out, digits)) if held_out else ''
        cells['teacher'] = str(estimate(list(teacher.values()), digits)) if teacher else ''
        cells['cost'] = _cost(runs, [each for each in results if each.row == baseline])
        cells['collapsed'] = sum(run.collapse is not None for run in runs)
        table.append(cells)
    return table


def compare_rows(
    results: Sequence[Result],
    rows: Mapping[str, str],
    pairs: Iterable[tuple[str, str]],
    metric: str = 'PSNR',
) -> list[dict[str, str | int]]:
    """Answer a table's questions: by how much one row exceeds another.

    Args:
        results: The results of one table.
        rows: Titles of the rows by name.
        pairs: Names of the rows that are compared.
        metric: Name of the metric.

    Returns:
        For each pair that shares seeds: what is compared, number of seeds, and the paired
        differences on every test set.
    """
    datasets = list(dict.fromkeys(name for result in results for name in result.student))
    table = []
    for first, second in pairs:
        gains = {
            dataset: difference(
                values_by_seed(results, first, dataset, metric),
                values_by_seed(results, second, dataset, metric),
                DIGITS.get(metric, 2),
            )
            for dataset in datasets
        }
        known = {dataset: gain for dataset, gain in gains.items() if gain is not None}
        if known:
            cells: dict[str, str | int] = {'difference': f'{rows[first]} - {rows[second]}'}
            cells['seeds'] = max(gain.count for gain in known.values())
            table.append({**cells, **{name: gain.signed() for name, gain in known.items()}})
    return table


def _cost(runs: Sequence[Result], baseline: Sequence[Result]) -> str:
    seconds: dict[tuple, list[float]] = {}
    for run in baseline:
        seconds.setdefault(_machine(run), []).append(run.seconds)
    ratios = [
        run.seconds / statistics.median(seconds[_machine(run)])
        for run in runs
        if run.seconds and _machine(run) in seconds
    ]
    # Of the middle run: on a machine that does other things as well, one may be slow for no reason.
    return f'{statistics.median(ratios):.1f}' if ratios else ''


def _machine(run: Result) -> tuple:
    return tuple(run.environment.get(key) for key in MACHINE)
