"""Checks of the numbers that a caller passes."""

from numbers import Real


def is_whole(value: object) -> bool:
    """Return whether `value` is an integer >= 1 of any numeric type; 2.0 is one."""
    return isinstance(value, Real) and value >= 1 and value % 1 == 0  # NaN and infinity have no such remainder.


def is_between(value: object, low: float, high: float) -> bool:
    """Return whether `value` is a number above `low` and at most `high`."""
    return isinstance(value, Real) and low < value <= high
