"""The memory layout in which convolutions are fastest."""

import torch
from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep the weights of convolutions with the channels last in memory.

    Convolutions hand the layout of their weights on to their outputs, so that one conversion before
    the run is enough. Shapes, checkpoints and configs stay as they are; only the order of the
    numbers in memory, and with it the speed, differs. Networks of many small or depthwise
    convolutions gain on CPUs, mixed precision gains on GPUs.

    Source: the layout is torch's.
    """

    def before_run(self, runner: Runner) -> None:
        """Convert the model."""
        runner.model.to(memory_format=torch.channels_last)
