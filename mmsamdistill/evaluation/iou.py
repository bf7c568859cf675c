"""Intersection over union from counts, which add up over images and processes."""

import torch
from torch import Tensor


def confusion_matrix(
    prediction: Tensor, truth: Tensor, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """Count pixels by true class (rows) and predicted one: ``(num_classes, num_classes)``."""
    if prediction.shape != truth.shape:
        raise ValueError(
            f'prediction {tuple(prediction.shape)}, truth {tuple(truth.shape)}: not of one shape'
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
    """Intersection over union of each class, in 0..1, from the counts of one image or of many.

    NaN for a class that is neither in the truth nor predicted; 0 for one that is predicted and not
    there (``evalPixelLevelSemanticLabeling.py`` of mcordts/cityscapesScripts).
    """
    counts = confusion.double()
    hits = counts.diagonal()
    return hits / (counts.sum(0) + counts.sum(1) - hits)


def mean_iou(confusion: Tensor) -> float:
    """Mean over the classes that occur, in 0..1; NaN if no pixel counts."""
    return iou_per_class(confusion).nanmean().item()
