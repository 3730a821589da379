"""Checks of the numbers that a caller passes."""

import math
from typing import SupportsFloat


def as_number(value: object) -> float:
    """Return a number of any type, such as one of NumPy or a tensor with one element; NaN for all else."""
    try:
        return float(value) if isinstance(value, SupportsFloat) else math.nan
    except (ArithmeticError, TypeError, ValueError):  # Of a large integer, or of several elements.
        return math.nan


def is_whole(value: object) -> bool:
    """Return whether `value` is an integer >= 1 of any numeric type; 2.0 is one."""
    return as_number(value).is_integer() and as_number(value) >= 1


def is_between(value: object, low: float, high: float) -> bool:
    """Return whether `value` is a number above `low` and at most `high`."""
    return low < as_number(value) <= high
