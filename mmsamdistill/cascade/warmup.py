"""When the student is taught: which steps, and from which iteration on with what weight."""

from __future__ import annotations

from mmengine.logging import MessageHub


def teaches_now(interval: int) -> bool:
    """Tell whether the Runner's current iteration is one of every ``interval``; the first is."""
    return MessageHub.get_current_instance().get_info('iter', 0) % interval == 0


def warmup_factor(warmup: tuple[int, int]) -> float:
    r"""Weight at the Runner's current iteration ``t``, so that a resumed run agrees.

    .. math:: \min(1, \max(0, (t - a) / (b - a)))

    Early in training the teacher is no better than the student, and its mistakes are not worth
    imitating. (a, a) is a step at a, (0, 0) means no warm-up; 1 where no iteration is known.
    """
    begin, end = warmup
    iteration = MessageHub.get_current_instance().get_info('iter', end)
    if iteration >= end:
        return 1.0
    return max(0.0, (iteration - begin) / (end - begin))
