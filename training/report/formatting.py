"""How numbers read on the page."""

from gate import Band
from gate.card import CardBand, Interval

# No line ends between a number and its sign.
_PERCENT = "\N{NO-BREAK SPACE}%"


def percent(part: float, *, decimals: int = 1) -> str:
    """.9921 as 99.2 %."""
    return f"{100 * part:.{decimals}f}{_PERCENT}"


def share(interval: Interval | None) -> str:
    """A share with its 95 % interval; a dash where there is nothing to take a share of."""
    if interval is None:
        return "-"
    return f"{percent(interval.value)} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def number(interval: Interval) -> str:
    """A number with its 95 % interval."""
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def edges(band: Band | CardBand) -> str:
    """0.4 to 0.6."""
    return f"{band.low:g} to {band.high:g}"


def count(amount: int, one: str) -> str:
    """1 image, 2,000 images."""
    return f"{amount:,} {one if amount == 1 else one + 's'}"
