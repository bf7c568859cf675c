"""Several tables beside each other: what each way of training gains in each domain."""

from collections.abc import Mapping, Sequence

from lab.results import Result
from lab.summary import difference, values_by_seed
from lab.table import Table


def overview(
    tables: Sequence[Table],
    results: Mapping[str, Sequence[Result]],
    baseline: str = 'plain',
    metric: str = 'PSNR',
) -> list[dict[str, str]]:
    """Make one table of the gains in domain.

    Args:
        tables: The tables, a column each.
        results: The results of each, by the table's name.
        baseline: The row that the others are compared with.
        metric: Name of the metric.

    Returns:
        For each row that has gains in at least two tables (what is in one alone is that table's
        matter) its title, and its paired gain over the baseline for each table that any of these
        rows is in.
    """
    gains_of = {}
    titles = {
        name: row.title
        for table in tables
        for name, row in table.rows.items()
        if row.trained and name != baseline
    }
    for name, title in titles.items():
        gains = {}
        for table in tables:
            ours, theirs = (
                values_by_seed(results[table.name], each, table.in_domain, metric)
                for each in (name, baseline)
            )
            gain = difference(ours, theirs)
            if gain is not None:
                gains[table.name] = gain.signed()
        if len(gains) > 1:
            gains_of[title] = gains
    columns = [t.name for t in tables if any(t.name in gains for gains in gains_of.values())]
    return [
        {'training': title, **{name: gains.get(name, '') for name in columns}}
        for title, gains in gains_of.items()
    ]
