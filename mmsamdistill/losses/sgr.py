"""Semantic-guided relation (SGR): how the regions of an image relate to each other, kept alike.

An image's regions have prototypes, the mean features over each region, and the prototypes have
cosines. The student's cosines are drawn towards the teacher's: not what a region looks like is
taught, but which regions look alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn

from mmsamdistill.losses.features import TARGETS
from mmsamdistill.losses.relations import (
    check_layers,
    connected_zero,
    pixel_relation_loss,
    region_prototypes,
    relation_loss,
    select_regions,
)
from mmsamdistill.regions.membership import widen
from mmsamdistill.regions.region_map import RegionMap

FORMS = ('prototypes', 'pixel_to_prototype')


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
        if form not in FORMS:
            raise ValueError(f'form={form!r} is not one of {FORMS}')
        if target not in TARGETS:
            raise ValueError(f'target={target!r} is not one of {TARGETS}')
        if loss_weight < 0 or min_mass < 0 or eps <= 0:
            raise ValueError(
                'loss_weight and min_mass must be at least 0 and eps above 0, '
                f'got {loss_weight}, {min_mass} and {eps}'
            )
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
            prototypes = region_prototypes(ours, membership)
            targets = region_prototypes(theirs, membership)
            losses = []
            for image in range(len(ours)):
                rows = select_regions(
                    membership.mass, regions.image_index, image, self.min_mass, self.max_regions
                )
                own, taught = prototypes[rows], targets[rows]
                if self.form == 'prototypes':
                    losses.append(relation_loss(own, taught, self.eps))
                else:
                    losses.append(
                        pixel_relation_loss(ours[image], theirs[image], own, taught, self.eps)
                    )
            # Prototypes of no region at all may have lost their connection to the features.
            return torch.stack(losses).mean() + connected_zero(ours)
