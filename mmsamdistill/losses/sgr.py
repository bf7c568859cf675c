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

from mmsamdistill.losses.relations import (
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

    over images n, feature layers l, and pairs of regions of the same image. An image with fewer
    than two regions of sufficient size contributes zero to the mean.

    Args:
        loss_weight: :math:`\lambda_2`, at least 0.
        form: 'prototypes' relates regions to regions (:func:`relation_loss`),
            'pixel_to_prototype' each feature cell to every region (:func:`pixel_relation_loss`).
        min_mass: Regions smaller than this on the feature grid drop out; in cells, at least 0.
        max_regions: Only so many regions an image, the largest, at least 2: memory grows with the
            square of the number. None: all; 4,000 regions take 64 MB a matrix.
        layer_weights: Weights of the layers in the mean, one each. None: equal.
        eps: Of :func:`unit_vectors`.

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

    Source: SGR is the paper's; this relation, its second form and every default are ours.
    """

    def __init__(
        self,
        loss_weight: float = 0.1,
        form: str = 'prototypes',
        min_mass: float = 1.0,
        max_regions: int | None = 256,
        layer_weights: Sequence[float] | None = None,
        eps: float = 1e-8,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f'form={form!r} is not one of {FORMS}')
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
            target_features: The teacher's features; detached here.
            regions: Regions of the images.

        Returns:
            Scalar.

        Raises:
            ValueError: If layers, shapes or the number of images do not agree.
        """
        regions = RegionMap.from_labels(regions)
        self._check(features, target_features, regions)
        weights = self.layer_weights or (1.0,) * len(features)
        layers = zip(weights, features, target_features, strict=True)
        total = sum(
            weight * self._layer_loss(ours, theirs, regions) for weight, ours, theirs in layers
        )
        return self.loss_weight * total / sum(weights)

    def extra_repr(self) -> str:
        """Say what this loss does, for ``print(model)``."""
        return f'loss_weight={self.loss_weight}, form={self.form!r}, min_mass={self.min_mass}'

    def _check(
        self, features: Sequence[Tensor], target_features: Sequence[Tensor], regions: RegionMap
    ) -> None:
        expected = len(features) if self.layer_weights is None else len(self.layer_weights)
        if not features or not len(features) == len(target_features) == expected:
            raise ValueError(
                f'got {len(features)} layers of features and {len(target_features)} of targets for '
                f'layer_weights={self.layer_weights}; as many of each are needed, at least one'
            )
        for layer, (ours, theirs) in enumerate(zip(features, target_features, strict=True)):
            if ours.shape != theirs.shape or len(ours) != len(regions.ids):
                raise ValueError(
                    f'layer {layer}: features {tuple(ours.shape)}, targets {tuple(theirs.shape)}, '
                    f'regions {tuple(regions.ids.shape)}; shapes and number of images must agree'
                )

    def _layer_loss(self, ours: Tensor, theirs: Tensor, regions: RegionMap) -> Tensor:
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
