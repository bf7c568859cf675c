"""Arguments that are refused when something is built, in one wording."""

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any


def check_choice(allowed: Iterable[Any], **given: Any) -> None:
    """Require that each argument is one of those allowed."""
    allowed = tuple(allowed)
    for name, value in given.items():
        if value not in allowed:
            raise ValueError(f'{name}={value!r} is not one of {allowed}')


def check_number(
    least: float, below: float | None = None, whole: bool = False, **given: Any
) -> None:
    """Require that each argument is a number of at least so much, and below a limit."""
    for name, value in given.items():
        # A truth value counts as 0 or 1 in Python, and NaN is neither less nor more than a limit.
        is_number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
        if not is_number or not value >= least or (below is not None and not value < below):
            kind = 'whole number' if whole else 'number'
            limit = '' if below is None else f' and below {below:g}'
            raise ValueError(f'{name}={value!r} must be a {kind}, at least {least:g}{limit}')


def check_flag(**given: Any) -> None:
    """Require that each argument is true or false: any text, 'no' as well, counts as true."""
    for name, value in given.items():
        if not isinstance(value, bool):
            raise ValueError(f'{name}={value!r} must be True or False')


def check_positive(**given: Any) -> None:
    """Require that each argument is a number above 0."""
    for name, value in given.items():
        if not isinstance(value, Real) or not float(value) > 0:
            raise ValueError(f'{name}={value!r} must be a number above 0')
