"""Frozen segmentation networks, to see how much of a scene a restored image gives back."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmsamdistill.frozen import FrozenNetwork
from mmsamdistill.version import needs
from mmsamdistill.weights import find_state_dict, read_checkpoint
from mmsamdistill.weights.library_weights import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    load_completely,
    read_torchvision_weights,
)


class Segmenter(FrozenNetwork):
    """A frozen segmentation network, with the normalisation that it was trained with.

    Takes images ``(N, 3, H, W)``, RGB in 0..1; gives scores ``(N, K, h, w)`` of the network's own
    resolution.

    Args:
        network: Takes normalised images, gives class scores: a tensor, ``out`` or ``logits`` of a
            dict or an object, or the first of a sequence.
        mean: Means of red, green and blue in 0..1, subtracted. Default: ImageNet's.
        std: Standard deviations in 0..1, divided by. Default: ImageNet's.
        size: Height and width that images are resized to before (bilinear). Default: as they are.

    Raises:
        ValueError: If mean, std or size are not those of three channels and two sides.

    Example:
        >>> segmenter = Segmenter(nn.Conv2d(3, 19, 1, stride=8))
        >>> segmenter(torch.rand(1, 3, 32, 64)).shape
        torch.Size([1, 19, 4, 8])
    """

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(network)
        if len(mean) != 3 or len(std) != 3 or not min(std) > 0:
            raise ValueError(f'mean={mean} and std={std} must be three numbers, std positive')
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ValueError(f'size={size} must be height and width in pixels')
        self.size = None if size is None else (size[0], size[1])
        self.register_buffer('mean', torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Score the classes of each pixel of RGB images in 0..1."""
        if self.size is not None:
            images = F.interpolate(images, self.size, mode='bilinear', align_corners=False)
        return _scores(self.network((images - self.mean) / self.std))


@MODELS.register_module(name='TorchvisionSegmenter')
def torchvision_segmenter(
    name: str, weights: str | Path, num_classes: int = 19, **options: Any
) -> Segmenter:
    """Build one of torchvision's segmentation networks, such as 'deeplabv3_resnet50'.

    Args:
        name: Name in torchvision: DeepLabV3, FCN or LR-ASPP.
        weights: Path of its weights for these classes, or the name of torchvision's own
            ('COCO_WITH_VOC_LABELS_V1': 21 classes), see
            :func:`~mmsamdistill.weights.library_weights.read_torchvision_weights`. 'random'
            is for tests.
        num_classes: Number of classes. Default: Cityscapes' 19.
        options: ``mean``, ``std`` and ``size``, see :class:`Segmenter`.

    Raises:
        KeyError: If torchvision has no such segmentation network.
        FileNotFoundError: If there are no such weights.
        ValueError: If the weights do not fit.
    """
    from torchvision import models

    # 1. The architecture; its random numbers leave the training's untouched.
    names = models.list_models(module=models.segmentation)
    if name not in names:
        raise KeyError(f'torchvision has no segmentation network {name!r}; it has {names}')
    with torch.random.fork_rng(devices=[]):
        network = models.get_model(
            name, weights=None, weights_backbone=None, num_classes=num_classes
        )
    # 2. Its weights, all of them.
    if str(weights) == 'random':
        warnings.warn(f'{name} has random weights: what it segments means nothing', stacklevel=2)
    else:
        what = f'{name} with {num_classes} classes'
        load_completely(network, read_torchvision_weights(weights, name), what)
    return Segmenter(network, **options)


@MODELS.register_module(name='TransformersSegmenter')
def transformers_segmenter(name: str, download: bool = False, **options: Any) -> Segmenter:
    """Build a semantic segmentation network of the library transformers, such as a SegFormer.

    Args:
        name: A folder written by ``save_pretrained``, or a name in the library's cache.
        download: Whether it may be downloaded if it is not there. Default: False.
        options: ``mean``, ``std`` and ``size``, see :class:`Segmenter`: what the checkpoint's own
            image processor does is not looked up.

    Raises:
        ImportError: If transformers is not installed.
        FileNotFoundError: If there is no such network.
    """
    with needs(
        "TransformersSegmenter needs transformers: pip install 'mmsamdistill[transformers]'"
    ):
        from transformers import AutoModelForSemanticSegmentation
    try:
        network = AutoModelForSemanticSegmentation.from_pretrained(
            name, local_files_only=not download
        )
    except OSError as error:
        raise FileNotFoundError(
            f'there is no segmentation network {name!r} on this machine; give a folder written by '
            f'save_pretrained, or download=True ({error})'
        ) from error
    return Segmenter(network, **options)


@MODELS.register_module(name='RegisteredSegmenter')
def registered_segmenter(
    model: Mapping[str, Any] | nn.Module, checkpoint: str | Path | None, **options: Any
) -> Segmenter:
    """Build any registered segmentation network, of one's own or of another OpenMMLab package.

    One of MMSegmentation, where that is installed with the full mmcv, is built in its own scope::

        dict(type='RegisteredSegmenter', checkpoint='deeplabv3plus.pth',
             model=dict(_scope_='mmseg', type='EncoderDecoder', ...))

    Args:
        model: Its configuration, or the network itself. MMSegmentation's data preprocessor is not
            used: normalisation is ``mean`` and ``std``, in 0..1.
        checkpoint: Its weights in any dialect; None: as the network initialises itself.
        options: ``mean``, ``std`` and ``size``, see :class:`Segmenter`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the weights do not fit.
    """
    # In the scope that its config names, if it names one.
    network = model if isinstance(model, nn.Module) else MODELS.build(dict(model))
    if checkpoint is not None:
        weights = find_state_dict(read_checkpoint(checkpoint))
        load_completely(network, weights, type(network).__name__)
    return Segmenter(network, **options)


def _scores(output: Any) -> Tensor:
    # Torchvision gives a dict, transformers an object, MMSegmentation a tuple.
    for key in ('out', 'logits'):
        if isinstance(output, Mapping) and key in output:
            output = output[key]
        elif isinstance(getattr(output, key, None), Tensor):
            output = getattr(output, key)
    if isinstance(output, (list, tuple)) and output:
        output = output[0]
    if not isinstance(output, Tensor) or output.dim() != 4:
        raise TypeError(
            'a segmentation network must give class scores (N, K, h, w), as a tensor, as "out" or '
            f'"logits", or first in a sequence; got {type(output).__name__} '
            f'{tuple(getattr(output, "shape", ()))}'
        )
    return output
