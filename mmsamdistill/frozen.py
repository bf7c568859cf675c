"""A frozen network that its owner uses but does not own."""

from collections.abc import Callable

import torch
from torch import nn


class FrozenNetwork(nn.Module):
    """Hold a network outside of the module tree.

    SAM and VGG only look at images while a restorer trains. Were they ordinary submodules, every
    checkpoint would carry them, DDP would broadcast them, and ``model.train()`` would switch their
    normalisation layers. Held here, put into evaluation mode and frozen in place, the network is
    invisible to ``parameters()``, ``state_dict()``, DDP and ``train()``, and still follows its
    owner through ``.to()``, ``.cuda()`` and ``.half()``. Without one the place is empty until
    :meth:`hold`.

    Example:
        >>> owner = FrozenNetwork(nn.Linear(2, 2))
        >>> list(owner.state_dict()), list(owner.parameters()), owner.train().network.training
        ([], [], False)
    """

    def __init__(self, network: nn.Module | None = None) -> None:
        super().__init__()
        # A list is not a Module: assigning it does not register what it contains.
        self._held: list[nn.Module] = []
        if network is not None:
            self.hold(network)

    def hold(self, network: nn.Module) -> None:
        """Freeze ``network`` and take it in, replacing any earlier one."""
        if not isinstance(network, nn.Module):
            raise TypeError(f'expected an nn.Module to freeze, got {type(network).__name__}')
        self._held = [network.eval().requires_grad_(False)]

    @property
    def network(self) -> nn.Module:
        """The held network; an error if there is none yet."""
        if not self._held:
            raise RuntimeError(f'{type(self).__name__} holds no network yet; call hold() first')
        return self._held[0]

    @property
    def empty(self) -> bool:
        """Whether there is no network yet."""
        return not self._held

    def _apply(self, fn: Callable, *args: object, **kwargs: object) -> 'FrozenNetwork':
        super()._apply(fn, *args, **kwargs)
        for network in self._held:
            network._apply(fn, *args, **kwargs)
        return self


class FrozenMaskNetwork(FrozenNetwork):
    """Follows its owner to a device, never to a precision: prompts and thresholds are float32."""

    def _apply(self, fn: Callable, *args: object, **kwargs: object) -> 'FrozenMaskNetwork':
        for network in self._held:
            probe = next(network.parameters())
            network.to(fn(torch.empty(0, device=probe.device)).device)
        return self
