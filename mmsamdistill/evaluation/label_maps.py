"""Semantic label maps on disk, as classes that a network predicts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

IGNORED = 255
_CITYSCAPES_CLASSES = (
    *('road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light', 'traffic sign'),
    *('vegetation', 'terrain', 'sky', 'person', 'rider', 'car', 'truck', 'bus', 'train'),
    *('motorcycle', 'bicycle'),
)
# Values in *_labelIds.png of the classes above, in their order; 0..33 are in use. The label -1 is
# not drawn, but 255 would be its value in 8 bits.
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_CITYSCAPES_VALUES = (*range(34), 255)


@dataclass(frozen=True)
class LabelSet:
    """What the values in a label map mean."""

    name: str  # for tables
    classes: tuple[str, ...]  # names, in the order of the network's outputs
    values: Mapping[int, int]  # by value in a file its class, 255 if its pixels do not count
    source: str = ''  # where this is defined

    def __post_init__(self) -> None:
        allowed = {*range(len(self.classes)), IGNORED}
        wrong = {value: each for value, each in self.values.items() if each not in allowed}
        if not self.classes or len(self.classes) > IGNORED or wrong:
            raise ValueError(
                f'label set {self.name!r} needs 1..{IGNORED} classes, and values that stand for '
                f'one of them or {IGNORED}, got {len(self.classes)} classes and {wrong}'
            )

    def decode(self, labels: np.ndarray) -> Tensor:
        """Turn the values of a file, ``(H, W)`` integers, into classes; 255 does not count."""
        if labels.ndim != 2 or labels.dtype.kind not in 'iu':
            raise ValueError(
                f'a label map is (H, W) integers, not colours, got {labels.dtype} {labels.shape}'
            )
        # Value by value; what none of them is belongs to another data set.
        classes = np.full(labels.shape, IGNORED, np.int64)
        unknown = np.ones(labels.shape, bool)
        for value, each in self.values.items():
            here = labels == value
            unknown &= ~here
            classes[here] = each
        if unknown.any():
            raise ValueError(
                f'the values {np.unique(labels[unknown])[:10].tolist()} are none of label set '
                f'{self.name!r}, which knows {sorted(self.values)}'
            )
        return torch.from_numpy(classes)


_SOURCE = 'cityscapesscripts/helpers/labels.py of mcordts/cityscapesScripts: '
_BY_ID = dict.fromkeys(_CITYSCAPES_VALUES, IGNORED)
_BY_ID |= {value: index for index, value in enumerate(_CITYSCAPES_IDS)}
_BY_TRAIN_ID = {IGNORED: IGNORED} | {index: index for index in range(len(_CITYSCAPES_CLASSES))}

LABEL_SETS: dict[str, LabelSet] = {
    name: LabelSet(name, _CITYSCAPES_CLASSES, values, _SOURCE + files)
    for name, values, files in (
        ('cityscapes', _BY_ID, '*_labelIds.png'),
        ('cityscapes_train_ids', _BY_TRAIN_ID, '*_labelTrainIds.png'),
    )
}
"""The label sets by name: the 19 classes of Cityscapes' evaluation."""


def get_label_set(labels: str | LabelSet | Mapping) -> LabelSet:
    """Look up a label set: a name, a set, or the arguments of one of one's own."""
    if isinstance(labels, LabelSet):
        return labels
    if isinstance(labels, Mapping):
        classes = tuple(labels['classes'])
        # The keys of a dict in a dumped config may have become text.
        values = {int(value): each for value, each in labels['values'].items()}
        return LabelSet(**{**labels, 'classes': classes, 'values': values})
    if labels not in LABEL_SETS:
        raise KeyError(f'there is no label set {labels!r}; those are {sorted(LABEL_SETS)}')
    return LABEL_SETS[labels]


def read_label_map(path: str | Path, labels: LabelSet) -> Tensor:
    """Read the classes, ``(H, W)``, out of a label map (PNG); an error names the file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no label map {path}')
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ValueError(f'{path} cannot be read as an image')
    try:
        return labels.decode(values)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def find_label_map(image: str | Path, root: str | Path, suffix: tuple[str, str]) -> Path:
    """Find the label map of an image: its name before ``suffix[0]``, then ``suffix[1]``."""
    image = Path(image)
    # An empty separator cannot be partitioned by.
    stem = image.stem.partition(suffix[0])[0] if suffix[0] else image.stem
    # Cityscapes sorts label maps into folders by city, as it does images.
    candidates = [Path(root, image.parent.name, stem + suffix[1]), Path(root, stem + suffix[1])]
    for path in candidates:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f'there is no label map for {image}: looked for {candidates[0]} and {candidates[1]}; set '
        f'label_root and suffix (now {suffix}) as the data set names its files'
    )
