"""Which loss term moves the student? Shares of its gradient, and a remark when one is alone."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmsamdistill.arguments import check_number
from mmsamdistill.engine.hooks.teacher_evaluation import cascade_of


@HOOKS.register_module()
class GradientShareHook(Hook):
    """Log how much of the student's gradient each loss term makes, every n steps.

    A loss value says nothing of this: a term of 0.001 may rule the training, and one of 5 may be
    without effect. The share of term t is the norm of its gradient in the student's parameters,
    over the sum of the norms of all terms; it is logged as ``share_rec``, ``share_spd``, .... Of a
    teacher that rests in some steps (``teacher_interval``), it is the share where it teaches. A
    look costs a forward pass and a backward pass a term; the run itself is unchanged by it.

    Args:
        interval: Every how many iterations. Default: 500.
        dead: A distillation term below this share is remarked on. Default: 0.01.
        dominant: As is one above this share. Default: 0.8.

    Raises:
        ValueError: If ``interval`` is less than 1, or not 0 <= dead < dominant <= 1.
        TypeError: At the first look, if the model has no teacher.
    """

    # Before the logger writes the step's line.
    priority = 'NORMAL'

    def __init__(self, interval: int = 500, dead: float = 0.01, dominant: float = 0.8) -> None:
        check_number(1, interval=interval)
        if not 0 <= dead < dominant <= 1:
            raise ValueError(f'0 <= dead < dominant <= 1 is wanted, got {dead} and {dominant}')
        self.interval = interval
        self.dead = dead
        self.dominant = dominant
        self.remarked: dict[str, str] = {}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look at the batch that the student has just learnt from."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        cascade = cascade_of(runner, type(self).__name__)
        with runner.optim_wrapper.optim_context(cascade):
            shares = gradient_shares(cascade, data_batch)
        for name, share in shares.items():
            runner.message_hub.update_scalar(f'train/share_{name}', share)
            if name != 'rec':
                self._remark(runner, name, share)

    def _remark(self, runner: Runner, name: str, share: float) -> None:
        # Said once for each change, not at each look.
        state = 'dead' if share < self.dead else 'dominant' if share > self.dominant else ''
        if state and self.remarked.get(name) != state:
            advice = {
                'dead': 'its weight is too small, its gate is closed, or its warm-up has not begun',
                'dominant': 'the truth hardly counts beside it: lower its weight',
            }
            runner.logger.warning(
                f'iteration {runner.iter + 1}: loss_{name} makes {100 * share:.1f} % of the '
                f"student's gradient: {advice[state]}"
            )
        self.remarked[name] = state


def gradient_shares(cascade: nn.Module, data_batch: Any) -> dict[str, float]:
    """Measure each loss term's share of the student's gradient, and leave the model as it was."""
    parameters = [each for each in cascade.restorer.parameters() if each.requires_grad]
    if not parameters:
        return {}
    # A forward pass draws random numbers, and batch normalisation counts what it sees.
    buffers = [(each, each.clone()) for each in cascade.buffers()]
    devices = [parameters[0].device] if parameters[0].is_cuda else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad(), _teaching(cascade):
        data = cascade.data_preprocessor(data_batch, True)
        losses = cascade(**data, mode='loss')
        norms = {
            name.removeprefix('loss_'): _norm(value, parameters)
            for name, value in losses.items()
            if name.startswith('loss_') and value.requires_grad
        }
    with torch.no_grad():
        for buffer, value in buffers:
            buffer.copy_(value)
    # What trains the teacher alone has no gradient here.
    norms = {name: norm for name, norm in norms.items() if norm is not None}
    total = sum(norms.values())
    return {name: norm / total for name, norm in norms.items()} if total > 0 else {}


@contextlib.contextmanager
def _teaching(cascade: nn.Module) -> Iterator[None]:
    """Let the teacher teach in this step, as it may rest in the very steps that are looked at."""
    interval = getattr(cascade, 'teacher_interval', 1)  # a cascade of one's own may have none
    cascade.teacher_interval = 1
    try:
        yield
    finally:
        cascade.teacher_interval = interval


def _norm(loss: Tensor, parameters: list[nn.Parameter]) -> float | None:
    found = torch.autograd.grad(loss.sum(), parameters, retain_graph=True, allow_unused=True)
    given = [gradient for gradient in found if gradient is not None]
    if not given:
        return None
    return torch.stack([gradient.double().norm() for gradient in given]).norm().item()
