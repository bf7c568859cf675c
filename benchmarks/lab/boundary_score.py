"""The boundary benchmark of BSDS500: thin, match within a distance, precision and recall.

Source: Martin, Fowlkes and Malik, TPAMI 2004; the suppression of what is no ridge follows Dollar
and Zitnick, ICCV 2013. Matching is one to one; the original minimises the distances of the pairs as
well, ours only finds as many pairs as there can be.
"""

from typing import NamedTuple

import numpy as np

MAX_DISTANCE = 0.0075  # of the diagonal


class Counts(NamedTuple):
    """Pixels of one or more images: of the boundaries found, of the human's, and matched ones."""

    found: int
    human: int
    matched: int

    @property
    def precision(self) -> float:
        """Share of the found pixels that the human has too; 1 if none was found."""
        return self.matched / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """Share of the human's pixels that were found."""
        return self.matched / self.human if self.human else 1.0

    @property
    def f_measure(self) -> float:
        """Harmonic mean of the two."""
        total = self.found + self.human
        return 2 * self.matched / total if total else 1.0

    def plus(self, other: 'Counts') -> 'Counts':
        """Counts of both."""
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


def thin(mask: np.ndarray) -> np.ndarray:
    """Lines of one pixel."""
    from skimage.morphology import skeletonize

    return skeletonize(mask.astype(bool))


def boundaries(labels: np.ndarray) -> np.ndarray:
    """Thin lines between the regions of a label map."""
    mask = np.zeros(labels.shape, bool)
    mask[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    mask[:-1] |= labels[:-1] != labels[1:]
    return thin(mask)


def ridges(strength: np.ndarray) -> np.ndarray:
    """Boundary strength where it is not below that of the neighbours across it, else 0."""
    from scipy import ndimage

    strength = ndimage.gaussian_filter(strength.astype(np.float64), 0.7)
    # Across a ridge, and on its slopes, the second derivative of a smoother map is the strongest.
    dy, dx = np.gradient(ndimage.gaussian_filter(strength, 2.0))
    dyy, dyx = np.gradient(dy)
    _, dxx = np.gradient(dx)
    angle = (np.arctan2(2 * dyx, dxx - dyy) + np.pi * (dxx + dyy < 0)) / 2
    rows, columns = np.indices(strength.shape)
    keep = np.ones(strength.shape, bool)
    for side in (-1, 1):
        across = [rows + side * np.sin(angle), columns + side * np.cos(angle)]
        neighbour = ndimage.map_coordinates(strength, across, order=1, mode='nearest')
        keep &= 1.01 * strength >= neighbour
    return np.where(keep, strength, 0.0)


def match(found: np.ndarray, human: np.ndarray) -> Counts:
    """Pairs of boundary pixels within 0.0075 of the diagonal, each pixel in one pair at most."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_flow
    from scipy.spatial import cKDTree

    ours, theirs = np.argwhere(found), np.argwhere(human)
    if not len(ours) or not len(theirs):
        return Counts(len(ours), len(theirs), 0)
    distance = MAX_DISTANCE * np.hypot(*found.shape)
    near = cKDTree(ours).query_ball_tree(cKDTree(theirs), distance)
    # A flow of ones from a source through ours and theirs to a sink. SciPy's bipartite matching
    # would say the same, but takes for ever on some maps.
    rows = np.repeat(np.arange(len(ours)), [len(each) for each in near])
    columns = np.concatenate([np.asarray(each, np.int32) for each in near]) + len(ours)
    sink = len(ours) + len(theirs) + 1
    source = sink - 1
    rows = np.concatenate([rows, np.full(len(ours), source), np.arange(len(ours), source)])
    columns = np.concatenate([columns, np.arange(len(ours)), np.full(len(theirs), sink)])
    ones = np.ones(len(rows), np.int32)
    graph = csr_matrix((ones, (rows, columns)), (sink + 1, sink + 1))
    return Counts(len(ours), len(theirs), int(maximum_flow(graph, source, sink).flow_value))
