"""One look at the metrics: what has been counted so far, as plain numbers that can be subtracted."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

from gate import Reason

BINS = 20
"""Bins of a histogram of scores, each .05 wide."""

STAGES = {
    "decode": "lensgate_decode_seconds_bucket",
    "queue": "lensgate_queue_wait_seconds_bucket",
    "inference": "lensgate_inference_seconds_bucket",
    "request": "lensgate_request_duration_seconds_bucket",
}

# Uploads of many images take as long as they are long: they say nothing of one.
_SINGLE_ROUTES = {"/v1/decisions", "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"}
_DECISIONS = "lensgate_decisions_total"
_SCORES = "lensgate_glasses_probability_bucket"
_SHED = "lensgate_shed_total"
_ERRORS = "lensgate_image_errors_total"
_EDGES = [edge / BINS for edge in range(1, BINS + 1)]

Bins = tuple[int, ...]
"""Counts of scores, `BINS` of them."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals since the start: decisions by reason, scores by bin, images refused and images at fault."""

    reasons: Mapping[Reason, int]
    scores: Bins
    shed: int
    errors: int

    @property
    def decisions(self) -> int:
        """All decisions, accepted and discarded."""
        return sum(self.reasons.values())


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram of seconds: how many took at most each of the edges, the last of which is infinite."""

    totals: Mapping[float, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """All that was timed."""
        return max(self.totals.values(), default=0)

    def since(self, earlier: "Buckets") -> "Buckets":
        """What was added after `earlier`."""
        return Buckets({edge: total - earlier.totals.get(edge, 0) for edge, total in self.totals.items()})

    def quantile(self, share: float) -> float | None:
        """Seconds that this share took at most, straight between two edges; None where nothing was timed.

        What took longer than the last finite edge counts as that edge.
        """
        wanted = share * self.count
        below, least = 0, 0.0
        for edge, total in sorted(self.totals.items()):
            if total >= wanted and total > below:
                inside = (wanted - below) / (total - below)
                return least if edge == float("inf") else least + (edge - least) * inside
            below, least = total, edge
        return None


def read_counts(registry: CollectorRegistry) -> Counts:
    """What changes with every image; takes .3 ms."""
    reasons: Counter[Reason] = Counter(dict.fromkeys(Reason, 0))
    below: dict[float, int] = {}
    others = {_SHED: 0, _ERRORS: 0}
    for sample in _samples(registry, (_DECISIONS, _SCORES, *others)):
        if sample.name == _DECISIONS:
            reasons[Reason(sample.labels["reason"])] += int(sample.value)
        elif sample.name == _SCORES:
            below[float(sample.labels["le"])] = int(sample.value)
        else:
            others[sample.name] += int(sample.value)
    totals = [0, *(below.get(edge, 0) for edge in _EDGES)]
    bins = tuple(after - before for before, after in pairwise(totals))
    return Counts(reasons, bins, others[_SHED], others[_ERRORS])


def read_stages(registry: CollectorRegistry) -> dict[str, Buckets]:
    """How long each stage took; some ms, most of it for the many routes."""
    found: dict[str, Counter[float]] = {name: Counter() for name in STAGES.values()}
    for sample in _samples(registry, STAGES.values()):
        if sample.labels.get("route", "/v1/decisions") in _SINGLE_ROUTES:
            found[sample.name][float(sample.labels["le"])] += int(sample.value)
    return {stage: Buckets(found[name]) for stage, name in STAGES.items()}


def read_values(registry: CollectorRegistry, names: Iterable[str]) -> dict[tuple[str, ...], float]:
    """Samples by their name and the values of their labels."""
    return {(sample.name, *sample.labels.values()): sample.value for sample in _samples(registry, names)}


def _samples(registry: CollectorRegistry, names: Iterable[str]) -> Iterator[Sample]:
    for family in registry.restricted_registry(names).collect():
        yield from family.samples
