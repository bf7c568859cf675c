"""Which images a figure shows: rules that it can state, so that nobody has to trust a choice."""

from __future__ import annotations

import statistics

from mmsamdistill.comparison.scores import Scores, format_gain, mean

PICKS: dict[str, str] = {
    'first': 'the first by name',
    'best': 'those where {last} gains most PSNR over {first}',
    'worst': 'those where {last} gains least PSNR over {first}, or loses most',
    'typical': 'those whose PSNR gain of {last} over {first} is nearest to the median',
}
"""The rules by which images are picked, and what a figure says of them."""


def pick_images(scores: Scores, rule: str, count: int) -> list[str]:
    """Pick images by a rule that a figure can state.

    Args:
        scores: Scores of all images.
        rule: A key of :data:`PICKS`.
        count: How many; fewer if there are fewer.

    Returns:
        Keys of the images, what the rule wants most first.

    Raises:
        KeyError: If there is no such rule.
        ValueError: If ``count`` is less than 1, or the rule needs gains and there are none.
    """
    if rule not in PICKS:
        raise KeyError(f'there is no rule {rule!r}; those are {list(PICKS)}')
    if count < 1:
        raise ValueError(f'count={count}: at least one image is needed')
    keys = list(scores.values)
    if rule == 'first':
        return keys[:count]
    gains = scores.gains
    if not gains:
        raise ValueError(
            f'rule {rule!r} compares two columns, but there is one: add the degraded images or '
            f'another model'
        )
    middle = statistics.median(gains.values())
    ranks = {
        'best': lambda key: -gains[key],
        'worst': lambda key: gains[key],
        'typical': lambda key: abs(gains[key] - middle) if gains[key] != middle else 0.0,
    }
    return sorted(keys, key=ranks[rule])[:count]


def describe_pick(scores: Scores, rule: str | None, shown: int, total: int) -> str:
    """Say how a figure's images were picked, and how all the others fared.

    Args:
        scores: Scores of all images that were measured.
        rule: A key of :data:`PICKS`; None: named by the user.
        shown: How many are drawn.
        total: How many there are.

    Returns:
        One or two sentences.

    Example:
        >>> from mmsamdistill.evaluation import get_protocol
        >>> describe_pick(Scores(get_protocol('denoise_rgb'), {}, None), None, 2, 68)
        'Images: 2 of 68, chosen by hand.'
    """
    if rule is None:
        return f'Images: {shown} of {total}, chosen by hand.'
    if shown == total:
        text = f'Images: all {total}.' if total > 1 else 'Images: the only one.'
    else:
        first, last = scores.pair or ('', '')
        wording = PICKS[rule].format(first=first, last=last)
        text = f'Images: {shown} of {total}, {wording}.'
    if len(scores.values) == total and total > 1 and scores.pair:
        text += f' {describe_gains(scores)}'
    return text


def describe_gains(scores: Scores) -> str:
    """Sum up the gains over all images.

    Args:
        scores: Scores with a pair.

    Returns:
        One sentence.
    """
    first, last = scores.pair
    gains = list(scores.gains.values())
    ahead = sum(gain > 0 for gain in gains)
    return (
        f'Mean PSNR gain of {last} over {first} on all {len(gains)}: '
        f'{format_gain(mean(gains))} dB ({format_gain(min(gains))} to {format_gain(max(gains))}), '
        f'ahead on {ahead}.'
    )
