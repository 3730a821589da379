"""Format numbers for the page."""

import math

from common.terminal import percent_up
from gate import Band
from gate.card import CardBand, Interval

# Prevents a line break between number and sign.
_PERCENT = "\N{NO-BREAK SPACE}%"


def percent(part: float, *, decimals: int = 1) -> str:
    """Format 0.9921 as 99.2 %. Only none of the images are 0.0 %, and only all of them 100.0 %."""
    shown, least = f"{100 * part:.{decimals}f}", 10.0**-decimals
    if part > 0 and float(shown) == 0:
        return f"< {least:g}{_PERCENT}"
    if part < 1 and float(shown) == 100:
        return f"> {100 - least:g}{_PERCENT}"
    return f"{shown}{_PERCENT}"


def upper(bound: float) -> str:
    """Format an upper bound of 0.00991 as 1.00 %, rounded up."""
    return f"{percent_up(bound):.2f}{_PERCENT}"


def share(interval: Interval | None) -> str:
    """Format a share with its 95 % interval, rounded to the wider side; a dash for None."""
    if interval is None:
        return "-"
    low, high = 100 - percent_up(1 - interval.low, decimals=1), percent_up(interval.high, decimals=1)
    return f"{percent(interval.value)} [{low:.1f}, {high:.1f}]"


def number(interval: Interval) -> str:
    """Format a number with its 95 % interval."""
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def edges(band: Band | CardBand) -> str:
    """Format a band as 0.4 to 0.6, or 0.2 to 0.99999996: with six digits this edge would be 1."""
    return f"{band.low:.10g} to {band.high:.10g}"


def probability(value: float, band: Band, *, decimals: int = 3) -> str:
    """Format a probability, with more digits near an edge of the band, so that the text lies on the same side of it."""
    distance = min(abs(value - band.low), abs(value - band.high))
    needed = math.ceil(-math.log10(distance)) if distance else 8
    is_exact = round(value, decimals) == value
    digits = decimals if is_exact else min(8, max(decimals, needed))
    shown, least = f"{value:.{digits}f}", 10.0**-digits
    if value > 0 and float(shown) == 0:
        return f"< {least:.{digits}f}"
    if value < 1 and float(shown) == 1:
        return f"> {1 - least:.{digits}f}"
    return shown


def words(label: str) -> str:
    """Format a label, such as no_glasses, for reading."""
    return label.replace("_", " ")
