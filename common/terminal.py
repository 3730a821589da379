"""Text for a terminal, a log, a page or a spreadsheet, whatever names a caller or a file system chose."""

import math
from typing import Any

# With the full-width forms that spreadsheets read alike in Japanese and Chinese.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def escape_controls(text: str) -> str:
    """Escape characters that a terminal would interpret, or that end a line."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def count(amount: int, one: str) -> str:
    """Format as 1 image or 2,000 images."""
    return f"{amount:,} {one if amount == 1 else one + 's'}"


def percent_up(bound: float, *, decimals: int = 2) -> float:
    """Return an upper bound in per cent, rounded up: one that is shown must not promise more than was computed."""
    scale = 10.0**decimals
    # To a millionth first: 100 * 0.07 is a little more than 7.
    return math.ceil(round(100 * bound * scale, 6)) / scale


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet would evaluate a cell with this text."""
    return text.startswith(_FORMULA)


def escape_formula(value: Any) -> Any:
    """Return a cell of a table with a leading `'` if spreadsheets would evaluate it."""
    return f"'{value}" if isinstance(value, str) and is_formula(value) else value
