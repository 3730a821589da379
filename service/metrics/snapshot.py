"""Typed readings of the metrics: frozen numbers that can be subtracted from a later reading."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Literal

from gate import Reason

BINS = 20
"""Number of equal bins of a histogram of scores."""

BIN_EDGES = tuple(edge / BINS for edge in range(1, BINS + 1))
"""Their upper edges."""

Bins = tuple[int, ...]
"""Counts of scores, `BINS` of them."""

Stage = Literal["decode", "queue", "inference", "request"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram of measured values.

    Args:
        edges: upper bounds of the finite buckets, ascending.
        counts: values in each bucket; the last bucket is unbounded, so there is one more than `edges`.
        total: sum of all values.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @classmethod
    def empty(cls, edges: tuple[float, ...]) -> "Distribution":
        """A histogram without values."""
        return cls(edges, (0,) * (len(edges) + 1), 0.0)

    @classmethod
    def merge(cls, parts: Iterable["Distribution"], *, edges: tuple[float, ...]) -> "Distribution":
        """Add histograms over the same edges."""
        return reduce(cls._add, parts, cls.empty(edges))

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self.counts)

    def since(self, earlier: "Distribution") -> "Distribution":
        """The values added after `earlier`, an older reading of the same histogram."""
        counts = tuple(now - before for now, before in zip(self.counts, earlier.counts, strict=True))
        return Distribution(self.edges, counts, self.total - earlier.total)

    def at_most(self, edge: float) -> int:
        """Number of values up to `edge`, which is one of the edges."""
        return sum(self.counts[: bisect_right(self.edges, edge)])

    def quantile(self, share: float) -> float | None:
        """Estimate a quantile by linear interpolation within its bucket; None without values.

        Values beyond the last finite edge count as that edge.
        """
        wanted = share * self.count
        bounds = (0.0, *self.edges, self.edges[-1])
        below = 0
        for inside, (start, end) in zip(self.counts, pairwise(bounds), strict=True):
            if inside and below + inside >= wanted:
                return start + (end - start) * (wanted - below) / inside
            below += inside
        return None

    def _add(self, other: "Distribution") -> "Distribution":
        counts = tuple(map(sum, zip(self.counts, other.counts, strict=True)))
        return Distribution(self.edges, counts, self.total + other.total)


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals since the start: decisions by reason, scores by bin, requests shed and invalid images."""

    reasons: Mapping[Reason, int]
    scores: Bins
    shed: int
    errors: int

    @property
    def decisions(self) -> int:
        """All decisions, accepted and discarded."""
        return sum(self.reasons.values())


@dataclass(frozen=True, slots=True)
class Drift:
    """Population stability index of the recent scores and its limit; None below the minimum number of scores."""

    psi: float | None
    limit: float | None


@dataclass(frozen=True, slots=True)
class ShadowCounts:
    """Images sent to the shadow version since the start, and its disagreements with the served version."""

    version: str
    scored: int
    dropped: int
    failed: int
    label_disagreements: int
    decision_disagreements: int


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """Decisions written and dropped since the start, those that wait, and whether the store fails."""

    written: int
    dropped: int
    queued: int
    is_failing: bool


@dataclass(frozen=True, slots=True)
class LoadCounts:
    """Images that wait, images and bytes between admission and answer, and batch uploads."""

    queued_images: int
    inflight_images: int
    inflight_bytes: int
    batch_uploads: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One reading of the metrics for the operations page.

    Args:
        counts: totals since the start.
        reject_ratio: share of discarded images in the window of recent decisions; None for an empty window.
        drift: drift of the scores in the same window.
        shadow: counts of the shadow version; None without one.
        records: counts of the recorder.
        load: current load.
    """

    counts: Counts
    reject_ratio: float | None
    drift: Drift
    shadow: ShadowCounts | None
    records: RecordCounts
    load: LoadCounts


def bin_scores(scores: Distribution) -> Bins:
    """Count scores in `BINS` equal bins; the histogram has their edges and may have further ones."""
    below = [scores.at_most(edge) for edge in BIN_EDGES]
    return tuple(after - before for before, after in pairwise([0, *below]))
