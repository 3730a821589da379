"""How the values of a gauge from several workers become one; each gauge declares it beside its text."""

import math
from collections.abc import Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Gauge

Merge = Literal["sum", "max", "min", "asked", "window"]
"""`sum`, `max` and `min` of all living workers; `asked` is the value of the worker that answers, or of another one
while it is NaN, for values that all of them read from one place; `window` is computed again from all recent
decisions."""

_declared: dict[str, Merge] = {}


def make_gauge(name: str, text: str, labels: Sequence[str] = (), *, merge: Merge, registry: CollectorRegistry) -> Gauge:
    """Make the gauge `lensgate_<name>`."""
    gauge = Gauge(f"lensgate_{name}", text, labels, registry=registry)
    _declared[f"lensgate_{name}"] = merge
    return gauge


def or_nan(value: float | None) -> float:
    """Return the value of a gauge: NaN if it is not known."""
    return math.nan if value is None else value


def rule_of(name: str) -> Merge:
    """Return how a gauge is merged.

    Raises:
        KeyError: it was not made by `make_gauge`.
    """
    return _declared[name]
