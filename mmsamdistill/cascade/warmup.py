"""When a distillation term comes in."""

from __future__ import annotations

from mmengine.logging import MessageHub


def check_warmup(name: str, warmup: tuple[int, int]) -> tuple[int, int]:
    """Return ``warmup`` as a pair, or say what is wrong with it.

    Args:
        name: The argument's name, for the message.
        warmup: Two iterations (a, b), 0 <= a <= b.

    Returns:
        The pair (a, b).

    Raises:
        ValueError: If it is not such a pair.

    Example:
        >>> check_warmup('spd_warmup', [100, 200])
        (100, 200)
    """
    if len(warmup) != 2 or not 0 <= warmup[0] <= warmup[1]:
        raise ValueError(f'{name}={warmup} must be two iterations (a, b) with 0 <= a <= b')
    begin, end = warmup
    return begin, end


def warmup_factor(warmup: tuple[int, int]) -> float:
    r"""Give the weight at the Runner's current iteration ``t``, so that a resumed run agrees.

    .. math:: \min(1, \max(0, (t - a) / (b - a)))

    Early in training the teacher is no better than the student, and its mistakes are not worth
    imitating.

    Args:
        warmup: Two iterations (a, b); (a, a) is a step at a, (0, 0) means no warm-up.

    Returns:
        A factor in [0, 1]; 1 outside of a Runner, where no iteration is known.

    Example:
        >>> warmup_factor((0, 0))
        1.0

    Source: ours.
    """
    begin, end = warmup
    iteration = MessageHub.get_current_instance().get_info('iter', end)
    if iteration >= end:
        return 1.0
    return max(0.0, (iteration - begin) / (end - begin))
