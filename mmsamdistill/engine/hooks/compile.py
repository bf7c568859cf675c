"""torch.compile for the networks of a model, in training alone."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile the networks of a model for its training steps.

    MMEngine's own ``compile=True`` compiles the whole step: optimiser, log and all the rest of it
    that compilers cannot follow. What is worth compiling are the networks, the student's and the
    teacher's alike. Validation runs the networks as they are, since each new size of image would be
    compiled anew. Checkpoints keep their keys, and results differ by rounding.

    Args:
        names: Names of the submodules to compile, wherever in the model they are. Default:
            ``('generator',)``, as MMagic calls the network of a restorer.
        **options: Arguments of ``torch.compile``, such as ``mode='max-autotune'``.

    Raises:
        ValueError: At the start of training, if the model has no submodule of such a name.
    """

    def __init__(self, names: Sequence[str] = ('generator',), **options: Any) -> None:
        self.names = tuple(names)
        self.options = options
        self.training = False

    def before_train(self, runner: Runner) -> None:
        """Compile; nothing happens before the first step needs it."""
        found = [
            module
            for name, module in runner.model.named_modules()
            if name.rpartition('.')[2] in self.names
        ]
        if not found:
            raise ValueError(
                f'CompileHook(names={self.names}): {type(runner.model).__name__} has no such module'
            )
        for module in found:
            module.forward = self._in_training(module.forward)
        self.training = True

    def before_val(self, runner: Runner) -> None:
        """Leave the compiled networks alone."""
        self.training = False

    def after_val(self, runner: Runner) -> None:
        """Go on with them."""
        self.training = True

    def after_train(self, runner: Runner) -> None:
        """Leave the compiled networks alone."""
        self.training = False

    def _in_training(self, eager: Callable) -> Callable:
        compiled = torch.compile(eager, **self.options)

        def forward(*args: Any, **kwargs: Any) -> Any:
            return (compiled if self.training else eager)(*args, **kwargs)

        return forward
