"""Semantic priors fusion (SPF): the student's image, enriched by what its regions say.

Pure functions from image and regions to prior maps, and the head that fuses them. Images are
(N, C, H, W), priors (N, P, H, W) and zero where there is no region.
"""

import math
from collections.abc import Collection, Sequence

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn

from mmsamdistill.arguments import check_number
from mmsamdistill.regions.membership import widen
from mmsamdistill.regions.region_map import RegionMap

PRIORS = ('colour', 'feature', 'boundary', 'size')


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


def size_prior(regions: RegionMap) -> Tensor:
    r"""Size of a pixel's region: relative to the image, and as the reliability of its mean.

    .. math:: \left[\frac{\log(1 + n_r)}{\log(1 + H W)}, \; \frac{1}{\sqrt{n_r}}\right]

    The second is the standard error of a mean of :math:`n_r` equally noisy pixels, relative to the
    noise: how far the region's mean colour is to be trusted.
    """
    height, width = regions.shape[-2:]
    sizes = regions.sizes()
    relative = sizes.log1p() / math.log1p(height * width)
    return regions.broadcast(torch.stack([relative, sizes.rsqrt()], dim=1))


def prior_channels(in_channels: int, priors: Collection[str]) -> int:
    """Count the channels of :func:`prior_maps`."""
    return (
        1 + 3 * in_channels * ('colour' in priors) + 2 * ('size' in priors) + ('boundary' in priors)
    )


def prior_maps(image: Tensor, regions: RegionMap, priors: Collection[str]) -> Tensor:
    """Everything that is known of a pixel's region before any network looks at it.

    The indicator of being in a region comes first, then 'colour', 'boundary' and 'size', as asked.
    """
    maps = [(regions.ids > 0).unsqueeze(1)]  # tells "zero" from "nothing known"
    if 'colour' in priors:
        maps.append(colour_prior(image, regions))
    if 'boundary' in priors:  # where neighbours are no evidence
        maps.append(regions.boundaries())
    if 'size' in priors:
        maps.append(size_prior(regions))
    return torch.cat([prior.to(image.dtype) for prior in maps], dim=1)


class RegionContext(nn.Module):
    r"""Let every pixel of (N, C, H, W) hear from the whole of its region, however far it reaches.

    .. math:: broadcast(W_2 \, gelu(W_1 \, pool(x)))

    Convolutions see a few pixels around; a region's mean feature sees one surface and nothing else,
    at the cost of one scatter and one gather.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, channels)
        )

    def forward(self, x: Tensor, regions: RegionMap) -> Tensor:
        """Compute each region's message and give it to the region's pixels."""
        return regions.broadcast(self.mlp(regions.pool(x)))


class GatedFusion(nn.Module):
    r"""Take over from the priors what helps the image, pixel by pixel and channel by channel.

    .. math::
        p' &= p + context(x, R) \\
        x' &= x + \sigma(G[x, p']) \odot V p' \\
        out &= x' + U \, gelu(x')

    The gate sees both sides: at a pixel that does not look like its region, a shadow or a region
    that spans two surfaces, it can refuse what the region says. Ours: the paper's layers could not
    be read.
    """

    def __init__(self, channels: int, with_context: bool = True) -> None:
        super().__init__()
        self.context = RegionContext(channels) if with_context else None
        self.gate = nn.Sequential(nn.Conv2d(2 * channels, channels, 1), nn.Sigmoid())
        self.value = nn.Conv2d(channels, channels, 3, padding=1)
        self.refine = nn.Sequential(nn.GELU(), nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor, prior: Tensor, regions: RegionMap) -> Tensor:
        """Fuse the branches, both (N, C, H, W), once."""
        if self.context is not None:
            prior = prior + self.context(x, regions)
        x = x + self.gate(torch.cat([x, prior], dim=1)) * self.value(prior)
        return x + self.refine(x)


@MODELS.register_module()
class SPFHead(nn.Module):
    r"""Fuse an image with the semantic priors of its regions.

    .. math:: F = I_1 + tail(fuse_d(\ldots fuse_1(stem(I_1), encode(priors(I_1, R)))))

    The tail starts at zero, so an untrained head passes the image through unchanged. Labels serve
    only to pool and to broadcast: renaming them changes nothing. The parameters are the same
    whatever the regions, and each gets a gradient (of zero, if need be) even without any region:
    comparisons of region sources compare equal capacity, and DDP finds no unused parameters.

    Args:
        in_channels: Channels of the images, above 0.
        channels: Width of both branches, above 0.
        depth: Number of :class:`GatedFusion` blocks, above 0.
        priors: What a region tells its pixels: 'colour' (mean, offset from it, spread), 'feature'
            (features of the image branch, pooled anew in each block), 'boundary', 'size' (relative,
            and as the reliability of a mean). An empty sequence leaves only whether a pixel is in
            a region.

    Shape:
        - image: (N, in_channels, H, W), any size
        - regions: (N, H, W)
        - returns: (N, in_channels, H, W)

    Raises:
        ValueError: If an argument is out of range, or image and regions do not fit.

    Example:
        >>> image = torch.rand(1, 3, 8, 8)
        >>> regions = RegionMap.from_labels(torch.randint(0, 4, (1, 8, 8)))
        >>> torch.equal(SPFHead()(image, regions), image)
        True

    Source: SPF is the paper's; priors, layers and every default are ours.
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 32,
        depth: int = 2,
        priors: Sequence[str] = PRIORS,
    ) -> None:
        super().__init__()
        check_number(1, in_channels=in_channels, channels=channels, depth=depth)
        if isinstance(priors, str) or not set(priors) <= set(PRIORS):
            raise ValueError(f'priors={priors!r} must be a sequence of names out of {PRIORS}')
        self.in_channels = in_channels
        self.priors = tuple(priors)
        self.stem = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.encode = nn.Sequential(
            nn.Conv2d(prior_channels(in_channels, priors), channels, 3, padding=1), nn.GELU()
        )
        self.blocks = nn.ModuleList(
            GatedFusion(channels, with_context='feature' in priors) for _ in range(depth)
        )
        self.tail = nn.Conv2d(channels, in_channels, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)

    def forward(self, image: Tensor, regions: RegionMap) -> Tensor:
        """Enrich images by their regions.

        Args:
            image: Images, in the restorer's normalised range.
            regions: Their regions.

        Returns:
            The enriched images.
        """
        regions = RegionMap.from_labels(regions)
        self._check(image, regions)
        prior = self.encode(prior_maps(image, regions, self.priors))
        x = self.stem(image)
        for block in self.blocks:
            x = block(x, prior, regions)
        return image + self.tail(x)

    def extra_repr(self) -> str:
        """Say which priors are used, for ``print(model)``."""
        return f'priors={self.priors}'

    def _check(self, image: Tensor, regions: RegionMap) -> None:
        expected = (regions.shape[0], self.in_channels, *regions.shape[1:])
        if tuple(image.shape) != expected:
            raise ValueError(
                f'expected images of shape {expected}, as the regions, got {tuple(image.shape)}; '
                'the number of channels is in_channels of SPFHead: spf=dict(in_channels=1) if grey'
            )
