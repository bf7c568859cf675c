"""Learned perceptual distance between restored and clean images."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import METRICS
from mmengine.device import get_device
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmsamdistill.evaluation.protocols import Protocol
from mmsamdistill.evaluation.restoration_metric import PerImageMetric
from mmsamdistill.frozen import FrozenNetwork
from mmsamdistill.weights import read_checkpoint, require_same_keys
from mmsamdistill.weights.library_weights import read_torchvision_weights

# The package's name of a network, and torchvision's.
_NETWORKS = {'alex': 'alexnet', 'vgg': 'vgg16', 'squeeze': 'squeezenet1_1'}
_VERSION = '0.1'
# Pixels of a side that every network's poolings leave something of.
_SMALLEST = 64


def lpips_network(net: str, weights: str | Path) -> nn.Module:
    """Build the network of the package lpips out of weights that are at hand, read as data.

    The package itself downloads the features' weights unless they are in PyTorch's cache, and
    unpickles its own, which come with it. ``weights='random'`` is for tests.
    """
    _check_net(net)
    # 1. The features' weights, before anything is built.
    features = None
    if str(weights) == 'random':
        warnings.warn(f'LPIPS with random weights of {net} means nothing', stacklevel=2)
    else:
        features = read_torchvision_weights(weights, _NETWORKS[net])

    import lpips

    # The package passes arguments that torchvision has deprecated.
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter('ignore')
        network = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    # 2. The layers' weights are the package's own.
    layers = read_checkpoint(Path(lpips.__file__).parent / f'weights/v{_VERSION}/{net}.pth')
    network.load_state_dict(layers, strict=False)
    if features is not None:
        _load_features(network.net, features, _NETWORKS[net])
    return network.eval()


@METRICS.register_module()
class LPIPSMetric(PerImageMetric):
    """LPIPS of a data set: how different restored and clean images look; lower is better.

    In a config::

        test_evaluator = [dict(type='LPIPSMetric', weights='alexnet-owt-7be5be79.pth')]

    Protocol: RGB, rounded to 8 bits as if saved, scaled to -1..1, whole images, version 0.1 of the
    package lpips, averaged over images, of videos over frames first. After :meth:`evaluate`,
    ``per_image`` has the value of each image.

    Args:
        weights: Path of torchvision's weights of the network's features, or 'IMAGENET1K_V1' to take
            them from PyTorch's cache or download them.
        net: 'alex', which the authors recommend for evaluation, 'vgg' or 'squeeze'; their values
            cannot be compared. Default: 'alex'.
        options: ``prefix``, ``channel_order`` and ``collect_device``, see
            :class:`RestorationMetric`.

    Raises:
        KeyError: If there is no such network.

    Source: Zhang et al., CVPR 2018; richzhang/PerceptualSimilarity.
    """

    def __init__(self, weights: str | Path, net: str = 'alex', **options: Any) -> None:
        _check_net(net)
        protocol = Protocol(
            f'lpips_{net}',
            f'LPIPS {_VERSION} of {_NETWORKS[net]}, RGB, 8 bit',
            f'richzhang/PerceptualSimilarity; features: {weights}',
        )
        super().__init__(protocol, **options)
        self.metrics = ('LPIPS',)
        self.net = net
        self.weights = weights
        self.per_image: list[dict[str, str | float]] = []
        self._owner = FrozenNetwork()

    @property
    def network(self) -> nn.Module:
        """The network, built at first use, on MMEngine's device."""
        if self._owner.empty:
            self._owner.hold(lpips_network(self.net, self.weights).to(get_device()))
        return self._owner.network

    def prepare(self, module: nn.Module, dataloader: DataLoader) -> None:
        """Build the network, so that missing weights are told before anything is tested."""
        super().prepare(module, dataloader)
        self.network  # noqa: B018

    @torch.no_grad()
    def measure(self, name: str, prediction: Tensor, truth: Tensor) -> float:
        """LPIPS of one image; of a video, the mean over its frames."""
        restored, clean = self._scaled(prediction), self._scaled(truth)
        try:
            return self.network(restored, clean).mean().item()
        except RuntimeError as error:
            if min(restored.shape[-2:]) >= _SMALLEST:
                raise
            raise ValueError(f'too small for {self.net}: {tuple(restored.shape[-2:])}') from error

    def _scaled(self, image: Tensor) -> Tensor:
        device = next(self.network.parameters()).device
        pixels = self.protocol.prepare(image, self.channel_order).float().to(device)
        pixels = pixels if pixels.dim() == 4 else pixels[None]
        return pixels.expand(-1, 3, -1, -1) / 127.5 - 1


def _check_net(net: str) -> None:
    if net not in _NETWORKS:
        raise KeyError(f'LPIPS has no network {net!r}; it has {sorted(_NETWORKS)}')


def _load_features(network: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Copy torchvision's features; the package cuts them into slices, numbers unchanged."""
    own = network.state_dict()
    theirs = {key: 'features.' + key.partition('.')[2] for key in own}
    wanted = {theirs[key]: value for key, value in own.items()}
    given = {key: value for key, value in weights.items() if key in wanted}
    require_same_keys(given, wanted, f"torchvision's {name}")
    network.load_state_dict({key: given[theirs[key]] for key in own}, strict=True)
