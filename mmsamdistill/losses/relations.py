"""How the regions of an image relate to each other: prototypes, cosines, and their differences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmsamdistill.regions.region_map import RegionMembership


def check_layers(features: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Refuse features and targets of different layers or shapes, or none at all."""
    if not features or len(features) != len(targets):
        raise ValueError(
            f'got {len(features)} layers of features and {len(targets)} of targets; as many of '
            'each are needed, at least one'
        )
    for layer, (ours, theirs) in enumerate(zip(features, targets, strict=True)):
        if ours.shape != theirs.shape:
            raise ValueError(
                f'layer {layer}: features {tuple(ours.shape)} and targets {tuple(theirs.shape)} '
                'must have one shape'
            )


def unit_vectors(vectors: Tensor, eps: float = 1e-8) -> Tensor:
    r"""Scale vectors (..., C) to length one, :math:`v / \sqrt{\|v\|^2 + \epsilon}`.

    Dividing by the norm itself would have a NaN gradient at a zero vector, such as a dark region's
    features.
    """
    return vectors * (vectors.square().sum(dim=-1, keepdim=True) + eps).rsqrt()


def region_prototypes(features: Tensor, membership: RegionMembership) -> Tensor:
    """Mean features (K, C) of (N, C, h, w) over each region; a border cell counts by its share."""
    return membership.pool(features)


def select_regions(
    mass: Tensor, image_index: Tensor, image: int, min_mass: float, max_regions: int | None
) -> Tensor:
    """Rows of an image's regions that are large enough (in cells) to have a meaningful prototype.

    Only the ``max_regions`` largest, if there are more: memory grows with the square of them.
    """
    rows = torch.nonzero((image_index == image) & (mass >= min_mass)).flatten()
    if max_regions is not None and len(rows) > max_regions:
        rows = rows[mass[rows].topk(max_regions).indices]
    return rows


def relation_matrix(prototypes: Tensor, eps: float = 1e-8) -> Tensor:
    r"""Cosine of each pair of prototypes, :math:`C_{jk} = \cos(p_j, p_k)`: (K, C) to (K, K)."""
    directions = unit_vectors(prototypes, eps)
    return directions @ directions.T


def relation_loss(prototypes: Tensor, target: Tensor, eps: float = 1e-8) -> Tensor:
    r"""Mean difference of two relation matrices over the pairs of different regions, in [0, 2].

    .. math:: \frac{1}{K (K - 1)} \sum_{j \ne k} |C_{jk} - C^*_{jk}|

    The diagonal is one on both sides: it would only make the loss depend on the number of regions.
    """
    count = len(prototypes)
    if count < 2:
        return connected_zero(prototypes)
    difference = (relation_matrix(prototypes, eps) - relation_matrix(target, eps)).abs()
    return (difference.sum() - difference.diagonal().sum()) / (count * (count - 1))


def pixel_relation_loss(
    features: Tensor, target_features: Tensor, prototypes: Tensor, target: Tensor, eps: float = 1e-8
) -> Tensor:
    r"""Mean difference of the relations of each feature cell to each prototype, in [0, 2].

    .. math:: mean_{i, k} |\cos(\phi_i, p_k) - \cos(\phi^*_i, p^*_k)|

    Features are (C, h, w), of one image; prototypes (K, C).
    """
    if len(prototypes) == 0:
        return connected_zero(prototypes)
    cells = unit_vectors(features.flatten(1).T, eps)
    target_cells = unit_vectors(target_features.flatten(1).T, eps)
    relation = cells @ unit_vectors(prototypes, eps).T
    target_relation = target_cells @ unit_vectors(target, eps).T
    return (relation - target_relation).abs().mean()


def connected_zero(tensor: Tensor) -> Tensor:
    """Zero that is part of ``tensor``'s graph and gives it a gradient of zeros.

    A loss without a graph would break ``backward()`` where it is the only one, and DDP where other
    processes have one. The sum of nothing, unlike ``tensor.sum() * 0``, is zero for infinite and
    NaN values too.
    """
    return tensor.flatten()[:0].sum()
