"""The window of recent decisions: its reject ratio, and the drift of its scores against the model's card."""

from collections import deque
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Gauge

from gate import Action
from gate.card import ReferenceHistogram
from service.metrics.snapshot import Drift

WINDOW = 1_000
"""Number of decisions in the window."""

DRIFT_MINIMUM = 200
"""Number of scores below which the drift is undefined: chance alone would look like drift."""

BinCounts = NDArray[np.int64]


class RecentDecisions:
    """The last `WINDOW` decisions of the served version. Use from the event loop only."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reference: ReferenceHistogram | None = None
        self._rejects: deque[bool] = deque(maxlen=WINDOW)
        self._scores: deque[float] = deque(maxlen=WINDOW)
        self._drift: Drift | None = None

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"lensgate_{name}", text, registry=registry)

        gauge("reject_ratio", f"Share of discarded images among the last {WINDOW:,}").set_function(
            lambda: self.reject_ratio or 0.0
        )
        gauge(
            "score_drift_psi", f"Population stability index of the last {WINDOW:,} scores against the model's card"
        ).set_function(lambda: _number(self.drift().psi))
        gauge(
            "score_drift_limit", "Limit of score_drift_psi; without drift at most one window in 1,000 exceeds it"
        ).set_function(lambda: _number(self.drift().limit))

    @property
    def reject_ratio(self) -> float | None:
        """Share of discarded images; None for an empty window."""
        return sum(self._rejects) / len(self._rejects) if self._rejects else None

    def restart(self, reference: ReferenceHistogram) -> None:
        """Empty the window for a new version with the scores of its card."""
        self._reference, self._drift = reference, None
        self._rejects.clear()
        self._scores.clear()

    def add(self, probability: float, action: Action) -> None:
        """Add one decision; the oldest one beyond `WINDOW` drops out."""
        self._rejects.append(action is Action.DISCARD)
        self._scores.append(probability)
        self._drift = None

    def drift(self) -> Drift:
        """Compare the scores with those of the card, once after each change: a scrape reads it twice."""
        if self._drift is None:
            self._drift = self._compare()
        return self._drift

    def _compare(self) -> Drift:
        if self._reference is None or len(self._scores) < DRIFT_MINIMUM:
            return Drift(None, None)
        found, _ = np.histogram(tuple(self._scores), self._reference.edges)
        expected = np.array(self._reference.counts)
        limit = stability_limit(len(self._scores), int(expected.sum()), bins=len(expected))
        return Drift(population_stability(found, expected), limit)


def population_stability(found: BinCounts, expected: BinCounts) -> float:
    """Population stability index of two histograms over the same edges, counts `[B]` each; 0 means no drift.

    Half a score is added to every count (Jeffreys' prior), so that an empty bin yields a large, finite index.
    """
    shares = (found + 0.5) / (found + 0.5).sum()
    reference = (expected + 0.5) / (expected + 0.5).sum()
    return float(((shares - reference) * np.log(shares / reference)).sum())


def stability_limit(found: int, expected: int, *, bins: int) -> float:
    """The index that `found` scores against `expected` in the reference exceed by chance with probability 0.001.

    Without drift the index is distributed as (1 / found + 1 / expected) times chi-square with `bins` - 1 degrees of
    freedom (Yurdakul and Naranjo, *Statistical Properties of the Population Stability Index*, 2020). The quantile uses
    Wilson and Hilferty's cube root; its error is at most 1 % from 4 degrees of freedom on.
    """
    freedom = bins - 1
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + NormalDist().inv_cdf(0.999) * spread**0.5) ** 3
    return float((1 / found + 1 / expected) * quantile)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
