"""What a region tells each of its pixels: pure functions from image and regions to prior maps."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor

from mmsamdistill.regions.membership import widen
from mmsamdistill.regions.region_map import RegionMap


def colour_prior(image: Tensor, regions: RegionMap, eps: float = 1e-4) -> Tensor:
    r"""Mean colour of a pixel's region, the way from the pixel to it, and the colours' spread.

    .. math:: [\mu_r, \; \mu_r - I, \; \sqrt{\sigma_r^2 + \epsilon}]

    If the region is one surface its mean is the surface's colour, with the noise averaged away; the
    second term is then the correction that the pixel needs. The spread tells whether it is one.

    Args:
        image: Images, in any range.
        regions: Their regions.
        eps: Squared spread below which a region counts as flat. It keeps the square root's
            gradient finite at flat and one-pixel regions.

    Shape:
        - image: (N, C, H, W)
        - returns: (N, 3 C, H, W), zero in no region

    Returns:
        The prior, at least in float32: small spreads are differences of nearly equal numbers.

    Example:
        >>> image = torch.tensor([[[[1.0, 3.0, 7.0]]]])
        >>> regions = RegionMap.from_labels(torch.tensor([[[4, 4, 0]]]))
        >>> colour_prior(image, regions, eps=0.0).squeeze().tolist()
        [[2.0, 2.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0]]

    Source: ours.
    """
    image = widen(image)
    mean = regions.broadcast(regions.pool(image))
    offset = (mean - image).masked_fill((regions.ids == 0).unsqueeze(1), 0.0)
    spread = (regions.pool(offset.square()) + eps).sqrt()
    return torch.cat([mean, offset, regions.broadcast(spread)], dim=1)


def size_prior(regions: RegionMap, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Size of a pixel's region: relative to the image, and as the reliability of its mean.

    .. math:: \left[\frac{\log(1 + n_r)}{\log(1 + H W)}, \; \frac{1}{\sqrt{n_r}}\right]

    The second is the standard error of a mean of :math:`n_r` equally noisy pixels, relative to the
    noise: how far the region's mean colour is to be trusted.

    Args:
        regions: The regions.
        dtype: Of the result.

    Shape:
        - returns: (N, 2, H, W), in (0, 1], zero in no region

    Returns:
        The prior.

    Example:
        >>> regions = RegionMap.from_labels(torch.tensor([[[4, 4], [4, 4]]]))
        >>> size_prior(regions)[0, :, 0, 0].tolist()
        [1.0, 0.5]

    Source: ours.
    """
    height, width = regions.shape[-2:]
    sizes = regions.sizes().to(dtype)
    relative = sizes.log1p() / math.log1p(height * width)
    return regions.broadcast(torch.stack([relative, sizes.rsqrt()], dim=1))


def boundary_prior(regions: RegionMap, dtype: torch.dtype = torch.float32) -> Tensor:
    """Mark the pixels at the border of two regions, where neighbours are no evidence.

    Args:
        regions: The regions.
        dtype: Of the result.

    Shape:
        - returns: (N, 1, H, W), 0 or 1

    Returns:
        The prior.

    Example:
        >>> boundary_prior(RegionMap.from_labels(torch.tensor([[[1, 1, 2]]]))).flatten().tolist()
        [0.0, 1.0, 1.0]

    Source: ours.
    """
    return regions.boundaries().to(dtype)


def inside_map(regions: RegionMap, dtype: torch.dtype = torch.float32) -> Tensor:
    """Mark the pixels that are in a region at all, which tells "zero" from "nothing known".

    Args:
        regions: The regions.
        dtype: Of the result.

    Shape:
        - returns: (N, 1, H, W), 0 or 1

    Returns:
        The indicator.

    Example:
        >>> inside_map(RegionMap.from_labels(torch.tensor([[[0, 8]]]))).flatten().tolist()
        [0.0, 1.0]

    Source: ours.
    """
    return (regions.ids > 0).unsqueeze(1).to(dtype)


def prior_channels(in_channels: int, priors: Collection[str]) -> int:
    """Count the channels of :func:`prior_maps`.

    Args:
        in_channels: Channels of the image.
        priors: As for :func:`prior_maps`.

    Returns:
        The number of channels.

    Example:
        >>> prior_channels(3, ['colour', 'boundary', 'size'])
        13

    Source: ours.
    """
    return (
        1 + 3 * in_channels * ('colour' in priors) + 2 * ('size' in priors) + ('boundary' in priors)
    )


def prior_maps(image: Tensor, regions: RegionMap, priors: Collection[str]) -> Tensor:
    """Everything that is known of a pixel's region before any network looks at it.

    Args:
        image: Images.
        regions: Their regions.
        priors: Which of 'colour', 'boundary' and 'size' to take, in any order. The indicator of
            being in a region always comes first.

    Shape:
        - image: (N, C, H, W)
        - returns: (N, P, H, W), P from :func:`prior_channels`

    Returns:
        The prior maps, in the image's dtype.

    Example:
        >>> regions = RegionMap.from_labels(torch.tensor([[[0, 8]]]))
        >>> prior_maps(torch.zeros(1, 3, 1, 2), regions, ['boundary']).shape
        torch.Size([1, 2, 1, 2])

    Source: ours.
    """
    maps = [inside_map(regions)]
    if 'colour' in priors:
        maps.append(colour_prior(image, regions))
    if 'boundary' in priors:
        maps.append(boundary_prior(regions))
    if 'size' in priors:
        maps.append(size_prior(regions))
    return torch.cat([prior.to(image.dtype) for prior in maps], dim=1)
