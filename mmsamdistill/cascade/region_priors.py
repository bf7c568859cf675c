"""What a region tells each of its pixels: pure functions from image and regions to prior maps.

Images are (N, C, H, W), priors (N, P, H, W) and zero where there is no region.
"""

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
    """
    # At least in float32: small spreads are differences of nearly equal numbers.
    image = widen(image)
    mean = regions.broadcast(regions.pool(image))
    offset = (mean - image).masked_fill((regions.ids == 0).unsqueeze(1), 0.0)
    # eps keeps the root's gradient finite at flat and one-pixel regions.
    spread = (regions.pool(offset.square()) + eps).sqrt()
    return torch.cat([mean, offset, regions.broadcast(spread)], dim=1)


def size_prior(regions: RegionMap, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Size of a pixel's region: relative to the image, and as the reliability of its mean.

    .. math:: \left[\frac{\log(1 + n_r)}{\log(1 + H W)}, \; \frac{1}{\sqrt{n_r}}\right]

    The second is the standard error of a mean of :math:`n_r` equally noisy pixels, relative to the
    noise: how far the region's mean colour is to be trusted.
    """
    height, width = regions.shape[-2:]
    sizes = regions.sizes().to(dtype)
    relative = sizes.log1p() / math.log1p(height * width)
    return regions.broadcast(torch.stack([relative, sizes.rsqrt()], dim=1))


def boundary_prior(regions: RegionMap, dtype: torch.dtype = torch.float32) -> Tensor:
    """Mark the pixels at the border of two regions, where neighbours are no evidence."""
    return regions.boundaries().to(dtype)


def inside_map(regions: RegionMap, dtype: torch.dtype = torch.float32) -> Tensor:
    """Mark the pixels that are in a region at all, which tells "zero" from "nothing known"."""
    return (regions.ids > 0).unsqueeze(1).to(dtype)


def prior_channels(in_channels: int, priors: Collection[str]) -> int:
    """Count the channels of :func:`prior_maps`."""
    return (
        1 + 3 * in_channels * ('colour' in priors) + 2 * ('size' in priors) + ('boundary' in priors)
    )


def prior_maps(image: Tensor, regions: RegionMap, priors: Collection[str]) -> Tensor:
    """Everything that is known of a pixel's region before any network looks at it.

    The indicator of being in a region comes first, then 'colour', 'boundary' and 'size', as asked.
    """
    maps = [inside_map(regions)]
    if 'colour' in priors:
        maps.append(colour_prior(image, regions))
    if 'boundary' in priors:
        maps.append(boundary_prior(regions))
    if 'size' in priors:
        maps.append(size_prior(regions))
    return torch.cat([prior.to(image.dtype) for prior in maps], dim=1)
