"""A table's gains as a figure: every seed a point, every row a mean with its error."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.results import Result
from lab.summary import difference, values_by_seed
from mmsamdistill.files import write_atomically


def draw_gains(
    results: Sequence[Result],
    rows: Mapping[str, str],
    in_domain: str,
    out: str | Path,
    baseline: str = 'plain',
    metric: str = 'PSNR',
) -> Path:
    """Draw each row's paired differences to the baseline, one panel for each test set.

    Args:
        results: The results of one table.
        rows: Titles of the rows by name, in order; those without a trained student are left out.
        in_domain: Name of the test set in domain, whose panel comes first.
        out: Path of the figure; the suffix is replaced by ``.png``.
        baseline: The row that the others are compared with.
        metric: Name of the metric.

    Returns:
        The path that was written.

    Raises:
        ValueError: If no row shares a seed with the baseline.
    """
    from matplotlib.figure import Figure

    # Without rows that train a teacher alone, or nothing, whose distance would flatten the others'.
    present = {result.row for result in results if result.student and result.iterations}
    shown = [name for name in rows if name in present and name != baseline]
    datasets = list(dict.fromkeys(name for result in results for name in result.student))
    datasets.sort(key=lambda name: name != in_domain)
    if not shown or not datasets:
        raise ValueError(f'nothing to draw: there are results of {sorted(present)} alone')
    figure = Figure((2.6 + 2.4 * len(datasets), 1.1 + 0.32 * len(shown)), layout='constrained')
    panels = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    for panel, dataset in zip(panels, datasets, strict=True):
        theirs = values_by_seed(results, baseline, dataset, metric)
        for place, name in enumerate(shown):
            ours = values_by_seed(results, name, dataset, metric)
            gain = difference(ours, theirs)
            if gain is None:
                continue
            points = [ours[seed] - theirs[seed] for seed in sorted(set(ours) & set(theirs))]
            panel.plot(points, [place] * len(points), 'o', color='0.7', markersize=4, zorder=1)
            panel.errorbar(gain.mean, place, xerr=gain.error, fmt='s', color='C0', capsize=3)
        panel.axvline(0, color='0.3', linewidth=0.8)
        panel.set_title(dataset + (' (in domain)' if dataset == in_domain else ''), fontsize=9)
        panel.tick_params(labelsize=8)
        panel.grid(axis='x', linewidth=0.3)
    panels[0].set_yticks(range(len(shown)), [rows[name] for name in shown])
    panels[0].invert_yaxis()
    # Once for all panels: beside each other long ones would overlap.
    figure.supxlabel(f'gain over {rows[baseline]}, dB {metric}', fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=150)
    path = Path(out).with_suffix('.png')
    write_atomically(path, buffer.getvalue())
    return path
