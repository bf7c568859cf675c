"""Semantic-guided relation (SGR): how the regions of an image relate to each other, kept alike.

An image's regions have prototypes, the mean features over each region, and the prototypes have
cosines. The student's cosines are drawn towards the teacher's: not what a region looks like is
taught, but which regions look alike. :class:`FeatureLoss` does without regions, for comparison.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn

from mmsamdistill.arguments import check_choice, check_flag, check_number, check_positive
from mmsamdistill.losses.spd import feature_distance
from mmsamdistill.regions.membership import widen
from mmsamdistill.regions.region_map import RegionMap

TARGETS = ('teacher', 'truth')
FORMS = ('prototypes', 'pixel_to_prototype')


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
                f'layer {layer}: features {tuple(ours.shape)}, but targets {tuple(theirs.shape)}'
            )


def unit_vectors(vectors: Tensor, eps: float = 1e-8) -> Tensor:
    r"""Scale vectors (..., C) to length one, :math:`v / \sqrt{\|v\|^2 + \epsilon}`.

    Dividing by the norm itself would have a NaN gradient at a zero vector, such as a dark region's
    features.
    """
    return vectors * (vectors.square().sum(dim=-1, keepdim=True) + eps).rsqrt()


def select_regions(
    mass: Tensor, image_index: Tensor, num_images: int, min_mass: float, most: int
) -> tuple[Tensor, Tensor]:
    """Rows (N, M) of each image's regions that are large enough (in cells) for a prototype.

    Only the ``most`` largest, if there are more: memory grows with the square of them. With a mask
    (N, M) of which rows count, instead of lists of their own lengths, which no compiler follows.
    """
    images = torch.arange(num_images, device=mass.device).unsqueeze(1)
    eligible = (image_index == images) & (mass >= min_mass)
    ranked = torch.where(eligible, mass, -1.0)
    largest = ranked.topk(most, dim=1)
    return largest.indices, largest.values >= 0


def relation_matrix(prototypes: Tensor, eps: float = 1e-8) -> Tensor:
    r"""Cosine of each two prototypes, :math:`C_{jk} = \cos(p_j, p_k)`: of (..., K, C)."""
    directions = unit_vectors(prototypes, eps)
    return directions @ directions.mT


def relation_loss(prototypes: Tensor, target: Tensor, count: Tensor, eps: float = 1e-8) -> Tensor:
    r"""Mean difference of two relation matrices over the pairs of different regions, in [0, 2].

    .. math:: \frac{1}{K (K - 1)} \sum_{j \ne k} |C_{jk} - C^*_{jk}|

    Prototypes are (N, M, C), of which ``count`` (N,) are regions and the others zero, so that they
    add nothing; returned is (N,). The diagonal is one on both sides: it would only make the loss
    depend on the number of regions.
    """
    difference = (relation_matrix(prototypes, eps) - relation_matrix(target, eps)).abs()
    total = difference.sum((1, 2)) - difference.diagonal(dim1=1, dim2=2).sum(1)
    return total / (count * (count - 1)).clamp_min(1)


def pixel_relation_loss(
    features: Tensor,
    target_features: Tensor,
    prototypes: Tensor,
    target: Tensor,
    count: Tensor,
    eps: float = 1e-8,
) -> Tensor:
    r"""Mean difference of the relations of each feature cell to each prototype, in [0, 2].

    .. math:: mean_{i, k} |\cos(\phi_i, p_k) - \cos(\phi^*_i, p^*_k)|

    Features are (N, C, h, w), the rest is as for :func:`relation_loss`.
    """
    cells = unit_vectors(features.flatten(2).mT, eps)
    target_cells = unit_vectors(target_features.flatten(2).mT, eps)
    relation = cells @ unit_vectors(prototypes, eps).mT
    target_relation = target_cells @ unit_vectors(target, eps).mT
    total = (relation - target_relation).abs().sum((1, 2))
    return total / (count * cells.shape[1]).clamp_min(1)


def connected_zero(tensor: Tensor) -> Tensor:
    """Zero that is part of ``tensor``'s graph and gives it a gradient of zeros.

    A loss without a graph would break ``backward()`` where it is the only one, and DDP where other
    processes have one. The sum of nothing, unlike ``tensor.sum() * 0``, is zero for infinite and
    NaN values too.
    """
    return tensor.flatten()[:0].sum()


@MODELS.register_module()
class SGRLoss(nn.Module):
    r"""Semantic-guided relation: draw the relations of the student's regions to the teacher's.

    .. math:: \lambda_2 \, mean_{n, l} \; mean_{j \ne k} |C_{jk}(I_1) - C_{jk}(I_2)|

    over images n, feature layers l, and pairs of regions of the same image, where
    :math:`C_{jk} = \cos(p_j, p_k)` for the mean features p of the regions. An image with fewer than
    two regions of sufficient size contributes zero to the mean.

    Args:
        loss_weight: :math:`\lambda_2`, at least 0.
        form: 'prototypes' relates regions to regions, 'pixel_to_prototype' each feature cell to
            every region.
        min_mass: Regions smaller than this on the feature grid drop out; in cells, at least 0.
        max_regions: Only so many regions an image, the largest, at least 2: memory grows with the
            square of the number. None: all; 4,000 regions take 64 MB a matrix.
        layer_weights: Weights of the layers in the mean, one each. None: equal.
        eps: Squared length below which a prototype counts as zero, above 0.
        target: Whose relations: 'teacher' or 'truth', a control that needs no teacher; images
            without a truth then take no part.
        matched: Let the cascade multiply the loss by how much larger the reconstruction's gradient
            is than that of an L1 loss on images in [0, 1], so that one weight means the same beside
            every loss. False: the plain value.

    Shape:
        - features, target_features: sequences of (N, C, h, w), a layer each
        - regions: (N, H, W), at the images' resolution

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> regions = RegionMap.from_labels(torch.tensor([[[1, 2]]]))
        >>> features = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
        >>> loss = SGRLoss(loss_weight=2.0)([features], [torch.ones(1, 2, 1, 2)], regions)
        >>> round(loss.item(), 4)
        2.0

    Source: Zhang et al., CVPR 2024; the relation, its second form and every default are ours.
    """

    def __init__(
        self,
        loss_weight: float = 0.02,
        form: str = 'prototypes',
        min_mass: float = 1.0,
        max_regions: int | None = 256,
        layer_weights: Sequence[float] | None = None,
        eps: float = 1e-8,
        target: str = 'teacher',
        matched: bool = True,
    ) -> None:
        super().__init__()
        check_choice(FORMS, form=form)
        check_choice(TARGETS, target=target)
        check_flag(matched=matched)
        check_number(0, loss_weight=loss_weight, min_mass=min_mass)
        check_positive(eps=eps)
        if max_regions is not None and max_regions < 2:
            raise ValueError(f'max_regions={max_regions} must be None or at least 2')
        if layer_weights is not None and (sum(layer_weights) <= 0 or min(layer_weights) < 0):
            raise ValueError(f'layer_weights={layer_weights} must be at least 0, one of them above')
        self.loss_weight = loss_weight
        self.form = form
        self.target = target
        self.matched = matched
        self.min_mass = min_mass
        self.max_regions = max_regions
        self.layer_weights = None if layer_weights is None else tuple(layer_weights)
        self.eps = eps

    def forward(
        self, features: Sequence[Tensor], target_features: Sequence[Tensor], regions: RegionMap
    ) -> Tensor:
        """Compute the weighted difference of relations, in float32 also under mixed precision.

        Args:
            features: The student's features, which get the gradient.
            target_features: What they are drawn to; detached here.
            regions: Regions of the images.

        Returns:
            Scalar.

        Raises:
            ValueError: If layers, shapes or the number of images do not agree.
        """
        regions = RegionMap.from_labels(regions)
        check_layers(features, target_features)
        weights = self.layer_weights or (1.0,) * len(features)
        if len(weights) != len(features):
            raise ValueError(f'{len(features)} layers of features for layer_weights={weights}')
        total = features[0].new_zeros(())
        for weight, ours, theirs in zip(weights, features, target_features, strict=True):
            total = total + weight * self._layer_loss(ours, theirs, regions)
        return self.loss_weight * total / sum(weights)

    def extra_repr(self) -> str:
        """Say what this loss does, for ``print(model)``."""
        return f'loss_weight={self.loss_weight}, form={self.form!r}, target={self.target!r}'

    def _layer_loss(self, ours: Tensor, theirs: Tensor, regions: RegionMap) -> Tensor:
        if len(ours) != len(regions.ids):
            raise ValueError(f'features of {len(ours)} images beside regions of {len(regions.ids)}')
        with torch.autocast(ours.device.type, enabled=False):
            ours, theirs = widen(ours), widen(theirs.detach())
            membership = regions.membership(tuple(ours.shape[-2:]))
            # Mean features (K, C) of each region, where a border cell counts by its share.
            prototypes, targets = membership.pool(ours), membership.pool(theirs)
            most = min(regions.most_in_an_image, self.max_regions or regions.most_in_an_image)
            rows, counted = select_regions(
                membership.mass, regions.image_index, len(ours), self.min_mass, most
            )
            # Rows that do not count are zero: what else is there could be NaN.
            own = prototypes[rows].masked_fill(~counted.unsqueeze(2), 0)
            taught = targets[rows].masked_fill(~counted.unsqueeze(2), 0)
            count = counted.sum(1)
            if self.form == 'prototypes':
                losses = relation_loss(own, taught, count, self.eps)
            else:
                losses = pixel_relation_loss(ours, theirs, own, taught, count, self.eps)
            # Prototypes of no region at all may have lost their connection to the features.
            return losses.mean() + connected_zero(ours)


@MODELS.register_module()
class FeatureLoss(nn.Module):
    r"""Draw the student's features to those of the truth, or of the teacher.

    .. math:: \lambda \, mean_l \frac{mean((\phi_l(I_1) - \phi_l(I))^2)}{var(\phi_l(I))}

    Takes the place of :class:`SGRLoss` (``sgr_loss=dict(type='FeatureLoss')``) and asks whether
    relations between regions are needed, or features alone do as much. Known as perceptual loss.

    Args:
        loss_weight: :math:`\lambda`, at least 0.
        target: Whose features: 'truth' or 'teacher'.
        matched: As for :class:`SGRLoss`.

    Shape:
        - features, target_features: sequences of (N, C, h, w), a layer each

    Raises:
        ValueError: If an argument is out of range, or layers or shapes do not agree.

    Example:
        >>> loss = FeatureLoss(loss_weight=0.5)
        >>> target = torch.tensor([[[[0.0, 2.0]]]])
        >>> round(loss([target + 2], [target], None).item(), 4)
        2.0
    """

    def __init__(
        self, loss_weight: float = 0.02, target: str = 'truth', matched: bool = True
    ) -> None:
        super().__init__()
        check_choice(TARGETS, target=target)
        check_flag(matched=matched)
        check_number(0, loss_weight=loss_weight)
        self.loss_weight = loss_weight
        self.target = target
        self.matched = matched

    def forward(
        self, features: Sequence[Tensor], target_features: Sequence[Tensor], regions: Any = None
    ) -> Tensor:
        """Compute the weighted distance, in float32 also under mixed precision.

        Args:
            features: The student's features, which get the gradient.
            target_features: What they are drawn to; detached here.
            regions: Unused.

        Returns:
            Scalar.
        """
        check_layers(features, target_features)
        distances = []
        for ours, theirs in zip(features, target_features, strict=True):
            with torch.autocast(ours.device.type, enabled=False):
                distances.append(feature_distance(widen(ours), widen(theirs)))
        return self.loss_weight * torch.stack(distances).mean()

    def extra_repr(self) -> str:
        """Say what this loss does, for ``print(model)``."""
        return f'loss_weight={self.loss_weight}, target={self.target!r}, matched={self.matched}'
