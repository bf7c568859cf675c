"""Intersection over union from counts, which add up over images and processes."""

from __future__ import annotations

import torch
from torch import Tensor


def confusion_matrix(
    prediction: Tensor, truth: Tensor, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """Count pixels by true and predicted class.

    Args:
        prediction: Predicted classes, integers in ``0 .. num_classes - 1`` wherever the truth is
            not to be ignored.
        truth: True classes, integers in ``0 .. num_classes - 1``, or ``ignore_index``.
        num_classes: Number of classes, at least 1.
        ignore_index: True class of pixels that do not count. Default: 255.

    Shape:
        - prediction, truth: any, the same
        - result: ``(num_classes, num_classes)``, true classes in rows, int64

    Returns:
        The counts; those of several images are added.

    Raises:
        ValueError: If the shapes differ or a class is out of range.

    Example:
        >>> confusion_matrix(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 255]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    if prediction.shape != truth.shape:
        raise ValueError(
            f'prediction and truth must be of one shape, got {tuple(prediction.shape)} and '
            f'{tuple(truth.shape)}'
        )
    counted = truth != ignore_index
    rows, columns = truth[counted].long(), prediction[counted].long()
    for name, classes in (('truth', rows), ('prediction', columns)):
        if classes.numel() and not 0 <= classes.min() <= classes.max() < num_classes:
            raise ValueError(
                f'classes of the {name} must lie in 0..{num_classes - 1}, got '
                f'{classes.min().item()}..{classes.max().item()}; {ignore_index} is ignored'
            )
    counts = torch.bincount(rows * num_classes + columns, minlength=num_classes**2)
    return counts.view(num_classes, num_classes)


def iou_per_class(confusion: Tensor) -> Tensor:
    r"""Intersection over union of each class.

    .. math:: \mathrm{IoU}_k = \frac{C_{kk}}{\sum_j C_{kj} + \sum_j C_{jk} - C_{kk}}

    Args:
        confusion: Counts, see :func:`confusion_matrix`, of one image or of a whole data set.

    Shape:
        - confusion: ``(K, K)``
        - result: ``(K,)``, float64

    Returns:
        The values in 0..1; NaN for a class that is neither in the truth nor predicted. A class that
        is predicted but not there counts, with 0.

    Example:
        >>> iou_per_class(torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]])).tolist()
        [0.75, 0.8, nan]

    Source: ``evalPixelLevelSemanticLabeling.py`` of mcordts/cityscapesScripts.
    """
    counts = confusion.double()
    hits = counts.diagonal()
    return hits / (counts.sum(0) + counts.sum(1) - hits)


def mean_iou(confusion: Tensor) -> float:
    """Mean of the classes' intersection over union, classes that do not occur left out.

    Args:
        confusion: Counts, see :func:`confusion_matrix`.

    Returns:
        The mean in 0..1; NaN if no pixel counts.

    Example:
        >>> round(mean_iou(torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]])), 6)
        0.775

    Source: ``evalPixelLevelSemanticLabeling.py`` of mcordts/cityscapesScripts.
    """
    return iou_per_class(confusion).nanmean().item()
