"""Checks of the numbers that a caller passes."""

from numbers import Real


def is_whole(value: object) -> bool:
    """Return whether `value` is an integer >= 1 of any numeric type; 2.0 is one."""
    return isinstance(value, Real) and float(value).is_integer() and float(value) >= 1


def is_between(value: object, low: float, high: float) -> bool:
    """Return whether `value` is a number above `low` and at most `high`."""
    return isinstance(value, Real) and low < float(value) <= high
