"""How far two label maps agree."""

import numpy as np


def label_agreement(exact: np.ndarray, fast: np.ndarray) -> float:
    """Fraction of pixels on which two label maps ``(H, W)`` agree, whatever their numbers.

    Regions become partners one to one, those that share most pixels first; a pixel agrees if its
    two regions are partners. Only pairs that share a pixel are looked at: the cost is that of
    sorting the pixels, however many regions there are.
    """
    # 1. How many pixels each pair of regions shares.
    _, rows = np.unique(exact, return_inverse=True)
    _, columns = np.unique(fast, return_inverse=True)
    width = int(columns.max()) + 1
    pairs, shared = np.unique(rows.ravel() * width + columns.ravel(), return_counts=True)
    # 2. Partners, largest share first.
    order = np.argsort(-shared, kind='stable')
    taken_rows, taken_columns, agreed = set(), set(), 0
    for pair, count in zip(pairs[order].tolist(), shared[order].tolist(), strict=True):
        row, column = divmod(pair, width)
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            agreed += count
    return agreed / exact.size
