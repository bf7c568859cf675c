"""How the regions of an image relate to each other: prototypes, cosines, and their differences."""

from __future__ import annotations

import torch
from torch import Tensor

from mmsamdistill.regions.region_map import RegionMembership


def unit_vectors(vectors: Tensor, eps: float = 1e-8) -> Tensor:
    r"""Scale vectors to length one; a zero vector stays zero and has a finite gradient.

    .. math:: u = v / \sqrt{\|v\|^2 + \epsilon}

    Args:
        vectors: Vectors along the last dimension.
        eps: Squared length below which a vector counts as zero, above 0. Dividing by the norm
            itself would have a NaN gradient at a zero vector, such as a dark region's features.

    Shape:
        - vectors: (..., C)
        - returns: (..., C)

    Returns:
        The scaled vectors.

    Example:
        >>> unit_vectors(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]

    Source: ours.
    """
    return vectors * (vectors.square().sum(dim=-1, keepdim=True) + eps).rsqrt()


def region_prototypes(features: Tensor, membership: RegionMembership) -> Tensor:
    """Mean features over each region.

    Args:
        features: Features of the images.
        membership: The regions' membership on the features' grid.

    Shape:
        - features: (N, C, h, w)
        - returns: (K, C)

    Returns:
        One prototype a region, differentiable.

    Example:
        >>> from mmsamdistill.regions.region_map import RegionMap
        >>> regions = RegionMap.from_labels(torch.tensor([[[5, 5], [0, 9]]]))
        >>> features = torch.tensor([[[[1.0, 3.0], [8.0, 4.0]]]])
        >>> region_prototypes(features, regions.membership((2, 2))).tolist()
        [[2.0], [4.0]]

    Source: the paper's; fractional membership at the border of a region is ours.
    """
    return membership.pool(features)


def select_regions(
    mass: Tensor, image_index: Tensor, image: int, min_mass: float, max_regions: int | None
) -> Tensor:
    """Rows of an image's regions that are large enough to have a meaningful prototype.

    Args:
        mass: Size of each region in cells of the feature grid.
        image_index: Image of each region.
        image: The image asked for.
        min_mass: Smallest size that counts.
        max_regions: Only so many, the largest. None: all.

    Shape:
        - mass, image_index: (K,)
        - returns: (K',)

    Returns:
        Row numbers in the prototypes.

    Example:
        >>> mass, image_index = torch.tensor([3.0, 0.5, 4.0, 9.0]), torch.tensor([0, 0, 0, 1])
        >>> select_regions(mass, image_index, 0, min_mass=1.0, max_regions=None).tolist()
        [0, 2]
        >>> select_regions(mass, image_index, 0, min_mass=1.0, max_regions=1).tolist()
        [2]

    Source: ours.
    """
    rows = torch.nonzero((image_index == image) & (mass >= min_mass)).flatten()
    if max_regions is not None and len(rows) > max_regions:
        rows = rows[mass[rows].topk(max_regions).indices]
    return rows


def relation_matrix(prototypes: Tensor, eps: float = 1e-8) -> Tensor:
    r"""Cosine of each pair of prototypes.

    .. math:: C_{jk} = \cos(p_j, p_k)

    Args:
        prototypes: Prototypes of one image's regions.
        eps: Of :func:`unit_vectors`.

    Shape:
        - prototypes: (K, C)
        - returns: (K, K)

    Returns:
        The symmetric matrix of cosines.

    Example:
        >>> relation_matrix(torch.tensor([[2.0, 0.0], [0.0, 3.0]])).tolist()
        [[1.0, 0.0], [0.0, 1.0]]

    Source: ours, after the paper's description.
    """
    directions = unit_vectors(prototypes, eps)
    return directions @ directions.T


def relation_loss(prototypes: Tensor, target: Tensor, eps: float = 1e-8) -> Tensor:
    r"""Mean difference of two relation matrices over the pairs of different regions.

    .. math:: \frac{1}{K (K - 1)} \sum_{j \ne k} |C_{jk} - C^*_{jk}|

    The diagonal is always one on both sides. It would only make the loss depend on the number of
    regions, so it takes no part.

    Args:
        prototypes: The student's prototypes of one image's regions.
        target: The teacher's prototypes of the same regions.
        eps: Of :func:`unit_vectors`.

    Shape:
        - prototypes, target: (K, C)

    Returns:
        Scalar in [0, 2]; zero, connected to ``prototypes``, if there are fewer than two regions.

    Example:
        >>> orthogonal, parallel = torch.eye(2), torch.ones(2, 2)
        >>> round(relation_loss(orthogonal, parallel).item(), 4)
        1.0

    Source: ours, after the paper's description.
    """
    count = len(prototypes)
    if count < 2:
        return connected_zero(prototypes)
    difference = (relation_matrix(prototypes, eps) - relation_matrix(target, eps)).abs()
    return (difference.sum() - difference.diagonal().sum()) / (count * (count - 1))


def pixel_relation_loss(
    features: Tensor, target_features: Tensor, prototypes: Tensor, target: Tensor, eps: float = 1e-8
) -> Tensor:
    r"""Mean difference of the relations of each feature cell to each prototype.

    .. math:: mean_{i, k} |\cos(\phi_i, p_k) - \cos(\phi^*_i, p^*_k)|

    Args:
        features: The student's features of one image.
        target_features: The teacher's.
        prototypes: The student's prototypes of the image's regions.
        target: The teacher's.
        eps: Of :func:`unit_vectors`.

    Shape:
        - features, target_features: (C, h, w)
        - prototypes, target: (K, C)

    Returns:
        Scalar in [0, 2]; zero, connected to ``prototypes``, if there is no region.

    Example:
        >>> features, prototypes = torch.ones(2, 1, 1), torch.ones(1, 2)
        >>> loss = pixel_relation_loss(features, -features, prototypes, prototypes)
        >>> round(loss.item(), 4)
        2.0

    Source: ours.
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

    Args:
        tensor: What to connect to.

    Returns:
        Scalar 0.

    Example:
        >>> connected_zero(torch.tensor([float('inf')], requires_grad=True)).item()
        0.0

    Source: ours.
    """
    return tensor.flatten()[:0].sum()
