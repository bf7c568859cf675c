"""A target that stands still: networks averaged over the steps of their training."""

import copy
import functools
import weakref
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

# Decay of (1 + t) / (10 + t) in step t, until the momentum binds: the average spans about a tenth
# of the training so far, be it short or long.
WARM_UP = 10


class AveragedNetworks(nn.Module):
    r"""Copies of networks that follow them slowly and are trained by nobody.

    .. math:: \bar\theta_t = \bar\theta_{t-1} + \max(m, 10 / (10 + t)) (\theta_t - \bar\theta_{t-1})

    once after each step of the optimiser that trains them: accumulated gradients, and steps that
    AMP skips, do not count. MMEngine's ``MomentumAnnealingEMA`` averages alike, but holds
    parameters: these would be in the optimiser, whose state in older checkpoints no longer fitted.
    As buffers they are in checkpoints, and neither in the optimiser nor in DDP's reducer.

    The networks are attributes of their names. They are always in evaluation mode.
    """

    def __init__(self, momentum: float, **networks: nn.Module) -> None:
        super().__init__()
        self.momentum = momentum
        # In a tuple, which is not a Module: whose weights these are is not for this one to save.
        self._sources = tuple(networks.items())
        for name, network in networks.items():
            self.add_module(name, _as_buffers(copy.deepcopy(network)))
        self.register_buffer('steps', torch.zeros(()))
        self.eval()
        _after_steps().add(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Have a copy follow its own networks."""
        super().__setstate__(state)
        _after_steps().add(self)

    def train(self, mode: bool = True) -> 'AveragedNetworks':
        """Stay in evaluation mode: what stands still draws no random numbers."""
        return super().train(False)

    @torch.no_grad()
    def restart(self) -> None:
        """Begin anew from the networks as they are."""
        self.steps.zero_()
        self._follow(torch.ones_like(self.steps))

    @torch.no_grad()
    def update(self) -> None:
        """Go a step towards the networks."""
        # A tensor on the device: reading it would make every step wait for the accelerator.
        self._follow((WARM_UP / (WARM_UP + self.steps)).clamp_min(self.momentum))
        self.steps += 1

    def trained_by(self, optimiser: Optimizer) -> bool:
        """Tell whether it is this optimiser whose steps count: the last network's, if several."""
        followed = next((p for p in self._sources[-1][1].parameters() if p.requires_grad), None)
        trained = (parameter for group in optimiser.param_groups for parameter in group['params'])
        return followed is not None and any(parameter is followed for parameter in trained)

    def _follow(self, share: torch.Tensor) -> None:
        for name, source in self._sources:
            theirs = source.state_dict()
            for key, ours in getattr(self, name).state_dict().items():
                if ours.is_floating_point():
                    ours.lerp_(theirs[key].to(ours.device), share.to(ours))
                else:
                    ours.copy_(theirs[key])


def _as_buffers(network: nn.Module) -> nn.Module:
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach())
    return network


@functools.cache
def _after_steps() -> weakref.WeakSet[AveragedNetworks]:
    """Let a set of averages hear of every optimiser's steps; only the model knows they are there.

    A model sees neither its optimiser nor a Runner, and DDP calls its ``forward`` alone.
    """
    listening: weakref.WeakSet[AveragedNetworks] = weakref.WeakSet()

    def update(optimiser: Optimizer, args: Any, kwargs: Any) -> None:
        for average in list(listening):
            if average.trained_by(optimiser):
                average.update()

    register_optimizer_step_post_hook(update)
    return listening
