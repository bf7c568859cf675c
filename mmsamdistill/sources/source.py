"""The interface of everything that finds regions in images."""

from typing import Any

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn


class RegionSource(nn.Module):
    """Base of the region sources: images in, label maps out, never a gradient.

    A source of one's own derives from this class, implements :meth:`find` and :meth:`describe`,
    and is registered with ``@MODELS.register_module()``; nothing else has to know it. The base
    class checks what comes in and goes out, so that a wrong shape or dtype stops here with a
    message and not later in a scatter.

    Attributes:
        online: True for a source that looks at the images; False for one that needs region maps
            from the data pipeline, in ``data_samples``.

    Example:
        >>> class Halves(RegionSource):
        ...     def find(self, images, data_samples=None):
        ...         labels = torch.ones_like(images[:, 0], dtype=torch.int64)
        ...         labels[..., images.shape[-1] // 2 :] = 2
        ...         return labels
        ...     def describe(self):
        ...         return dict(type='Halves')
        >>> Halves()(torch.rand(1, 3, 1, 4)).tolist()
        [[[1, 1, 2, 2]]]
    """

    online: bool = True

    @torch.no_grad()
    def forward(self, images: Tensor, data_samples: Any = None) -> Tensor:
        """Find the regions of a batch of images.

        Args:
            images: RGB images in [0, 1], any floating-point dtype. Values outside of the range
                and NaN are the source's to cope with: a restorer's output has them.
            data_samples: MMagic's data samples of the batch, for sources that are not online.

        Shape:
            - images: ``(N, 3, H, W)``
            - result: ``(N, H, W)``

        Returns:
            int64 labels on the images' device, 0 where there is no region.

        Raises:
            TypeError: If ``images`` is not a floating-point tensor.
            ValueError: If ``images`` is not ``(N, 3, H, W)``.
        """
        _check_images(images)
        labels = self.find(images.detach(), data_samples)
        # A source of one's own is believed as little as its images.
        expected = (images.shape[0], *images.shape[2:])
        if tuple(labels.shape) != expected:
            raise ValueError(
                f'{type(self).__name__}.find returned labels of shape {tuple(labels.shape)}; '
                f'expected {expected}'
            )
        return labels.to(device=images.device, dtype=torch.int64)

    def prepare(self, device: str | torch.device) -> None:
        """Get ready to look at images, so that what cannot work fails now and not at each of them.

        Args:
            device: Where the images will be.
        """

    def find(self, images: Tensor, data_samples: Any = None) -> Tensor:
        """Label maps of checked images; called by :meth:`forward` without gradient.

        Args:
            images: RGB images in [0, 1].
            data_samples: MMagic's data samples of the batch, or None.

        Shape:
            - images: ``(N, 3, H, W)``
            - result: ``(N, H, W)``

        Returns:
            Integer labels, 0 for no region.
        """
        raise NotImplementedError(f'{type(self).__name__} must implement find()')

    def describe(self) -> dict[str, Any]:
        """Everything that decides about the regions, as plain JSON types.

        Written into the manifest of a region cache; two sources with equal descriptions give the
        same regions for the same image.

        Returns:
            ``type``, the parameters, and ``checkpoint_sha256`` where weights are involved.
        """
        raise NotImplementedError(f'{type(self).__name__} must implement describe()')


def build_source(name: str, source: dict[str, Any] | nn.Module) -> nn.Module:
    """A source that is given built or as a config, by the argument ``name``."""
    if not isinstance(source, nn.Module | dict):
        raise TypeError(
            f'{name} must be a region source or its config, got {type(source).__name__}'
        )
    return source if isinstance(source, nn.Module) else MODELS.build(source)


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(f'images must be a torch.Tensor, got {type(images).__name__}')
    if not images.is_floating_point():
        raise TypeError(
            f'images must be floating point in [0, 1], got {images.dtype}; divide 8 bits by 255'
        )
    if images.dim() != 4 or images.shape[1] != 3:
        raise ValueError(f'images must be (N, 3, H, W), got {tuple(images.shape)}')


def to_unit_range(images: Tensor) -> Tensor:
    """Make any restorer's output a valid image: float32, within [0, 1], no NaN."""
    # An untrained or diverging restorer must not stop a source with an exception.
    return torch.nan_to_num(images.float(), nan=0.0, posinf=1.0, neginf=0.0).clamp(0.0, 1.0)
