"""The window of recent decisions: its reject ratio, and the drift of its scores against the model's card."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from gate import Action
from gate.card import ReferenceHistogram
from service.metrics.merging import make_gauge, or_nan
from service.metrics.snapshot import Drift

WINDOW = 1_000
"""Number of decisions in the window."""

DRIFT_MINIMUM = 200
"""Number of scores below which the drift is undefined: chance alone would look like drift."""

BinCounts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DecisionWindow:
    """The recent decisions of one version, counted.

    Args:
        version: the served version.
        rejects: number of discarded images.
        scores: number of scores in each bin of the card's reference histogram.
        reference: the card's counts in the same bins.
    """

    version: str
    rejects: int
    scores: Sequence[int]
    reference: Sequence[int]

    @property
    def reject_ratio(self) -> float | None:
        """Share of discarded images; None for an empty window."""
        decided = sum(self.scores)
        return self.rejects / decided if decided else None

    def drift(self) -> Drift:
        """Compare the scores with those of the card."""
        decided = sum(self.scores)
        if decided < DRIFT_MINIMUM:
            return Drift(None, None)
        limit = stability_limit(decided, sum(self.reference), bins=len(self.reference))
        return Drift(population_stability(np.array(self.scores), np.array(self.reference)), limit)

    def plus(self, other: "DecisionWindow") -> "DecisionWindow":
        """Add the window of another worker, unless it serves another version."""
        if (other.version, tuple(other.reference)) != (self.version, tuple(self.reference)):
            return self
        scores = [mine + more for mine, more in zip(self.scores, other.scores, strict=True)]
        return DecisionWindow(self.version, self.rejects + other.rejects, scores, self.reference)

    def gauges(self) -> dict[str, float]:
        """Return the values of the three gauges about it."""
        drift = self.drift()
        return {
            "lensgate_reject_ratio": or_nan(self.reject_ratio),
            "lensgate_score_drift_psi": or_nan(drift.psi),
            "lensgate_score_drift_limit": or_nan(drift.limit),
        }

    def values(self) -> list[str | int | list[int]]:
        """Return the arguments of the constructor."""
        return [self.version, self.rejects, list(self.scores), list(self.reference)]


class RecentDecisions:
    """The last `WINDOW` decisions of the served version. Use from the event loop only."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._version = ""
        self._reference: ReferenceHistogram | None = None
        self._recent: deque[tuple[float, bool]] = deque(maxlen=WINDOW)

        def gauge(name: str, text: str) -> None:
            made = make_gauge(name, text, merge="window", registry=registry)
            made.set_function(lambda: self.window().gauges()[f"lensgate_{name}"])

        gauge("reject_ratio", f"Share of discarded images among the last {WINDOW:,} of each worker; NaN without any")
        gauge("score_drift_psi", f"Population stability index of each worker's last {WINDOW:,} scores against the card")
        gauge("score_drift_limit", "Limit of score_drift_psi; without drift at most one window in 1,000 exceeds it")

    def restart(self, version: str, reference: ReferenceHistogram) -> None:
        """Empty the window for a new version with the scores of its card."""
        self._version, self._reference = version, reference
        self._recent.clear()

    def add(self, probability: float, action: Action) -> None:
        """Add one decision; the oldest one beyond `WINDOW` drops out."""
        self._recent.append((probability, action is Action.DISCARD))

    def window(self) -> DecisionWindow:
        """Count the window."""
        if self._reference is None:
            return DecisionWindow(self._version, 0, (), ())
        scores, _ = np.histogram([score for score, _ in self._recent], self._reference.edges)
        rejects = sum(is_reject for _, is_reject in self._recent)
        return DecisionWindow(self._version, rejects, scores.tolist(), self._reference.counts)


def population_stability(observed: BinCounts, expected: BinCounts) -> float:
    """Population stability index of two histograms over the same edges, counts `[B]` each; 0 means no drift.

    Half a score is added to every count (Jeffreys' prior), so that an empty bin yields a large, finite index.
    """
    shares = (observed + 0.5) / (observed + 0.5).sum()
    reference = (expected + 0.5) / (expected + 0.5).sum()
    return float(((shares - reference) * np.log(shares / reference)).sum())


def stability_limit(observed: int, expected: int, *, bins: int) -> float:
    """The index that `observed` scores against `expected` in the reference exceed by chance with probability 0.001.

    Without drift the index is distributed as (1 / observed + 1 / expected) times chi-square with `bins` - 1 degrees of
    freedom (Yurdakul and Naranjo, *Statistical Properties of the Population Stability Index*, 2020). The quantile uses
    Wilson and Hilferty's cube root; its error is at most 1 % from 4 degrees of freedom on.
    """
    freedom = bins - 1
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + NormalDist().inv_cdf(0.999) * spread**0.5) ** 3
    return float((1 / observed + 1 / expected) * quantile)
