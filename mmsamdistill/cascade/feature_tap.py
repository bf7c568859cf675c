"""Reading what happens inside a network without changing it."""

import difflib
from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class FeatureTap:
    """Collect the outputs of named modules while a ``with`` block runs.

    Hooks that outlive their purpose keep activations, and the graph behind them, in memory. These
    are gone when the block ends, also when it ends in an exception, and so is what they collected.

    Args:
        module: The network to read from.
        names: Names of modules inside it, as ``named_modules()`` gives them. Empty: nothing is
            hooked and ``features`` stays empty.

    Attributes:
        features: Output by name, filled as the modules run; of one that runs more than once, the
            last. The tensors are the network's own, with their graph: an in-place operation that
            follows the module shows in them.
    """

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        available = dict(module.named_modules(remove_duplicate=False))
        for name in names:
            if name not in available:
                close = difflib.get_close_matches(name, available, n=5, cutoff=0.4)
                raise KeyError(
                    f'{type(module).__name__} has no module {name!r}; close matches: '
                    f'{", ".join(map(repr, close)) or "none"}'
                )
        self._modules = {name: available[name] for name in names}
        self._handles: list[RemovableHandle] = []
        self.features: dict[str, Tensor] = {}

    def __enter__(self) -> 'FeatureTap':
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_hook(partial(self._collect, name)))
        return self

    def __exit__(self, *error: object) -> None:
        while self._handles:
            self._handles.pop().remove()
        self.features.clear()

    def _collect(self, name: str, module: nn.Module, inputs: tuple, output: object) -> None:
        if not isinstance(output, Tensor):
            raise TypeError(
                f'module {name!r} ({type(module).__name__}) returned a {type(output).__name__}; '
                'only modules that return one tensor can be tapped'
            )
        self.features[name] = output
