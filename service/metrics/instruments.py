"""Counters and histograms that take a quarter of the time of prometheus_client's. All are thread-safe."""

import math
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from threading import Lock
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.samples import Exemplar

SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Edges of durations, from the 0.3 ms of a small graph to a deadline; each step is about twice the one before."""

KeyT = TypeVar("KeyT", bound=tuple[str, ...])
"""The values of an instrument's labels, in the order of their names."""


class LabelledCounter(Generic[KeyT]):
    """A counter for each combination of label values."""

    def __init__(self, name: str, text: str, labels: Sequence[str], *, registry: CollectorRegistry) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._counts: dict[KeyT, int] = {}
        self._lock = Lock()
        registry.register(self)

    def expect(self, key: KeyT) -> None:
        """Export this series at 0 before its first event."""
        self.add(key, 0)

    def add(self, key: KeyT, count: int = 1) -> None:
        """Count events."""
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + count

    def describe(self) -> Iterator[CounterMetricFamily]:
        """The family without samples, for the registry."""
        yield CounterMetricFamily(self._name, self._text, labels=self._labels)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The family as Prometheus scrapes it."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        with self._lock:
            counts = self._counts.copy()
        for key, count in counts.items():
            family.add_metric(key, count)
        yield family


def counter_by(
    label: str, values: Iterable[str], *, name: str, text: str, registry: CollectorRegistry
) -> LabelledCounter[tuple[str]]:
    """Make a counter with one label, and export the series of each of `values` at 0."""
    counter: LabelledCounter[tuple[str]] = LabelledCounter(name, text, [label], registry=registry)
    for value in values:
        counter.expect((value,))
    return counter


class LabelledHistogram(Generic[KeyT]):
    """A histogram for each combination of label values, all over the same edges.

    Without edges it exports no series; `restart` sets them.
    """

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        *,
        edges: tuple[float, ...],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._edges = edges
        self._series: dict[KeyT, tuple[list[int], list[float]]] = {}
        self._exemplars: dict[tuple[KeyT, int], Exemplar] = {}
        self._lock = Lock()
        registry.register(self)

    @property
    def edges(self) -> tuple[float, ...]:
        """Upper bounds of the finite buckets."""
        return self._edges

    def restart(self, edges: tuple[float, ...]) -> None:
        """Drop all series and continue with other edges; Prometheus sees a counter reset."""
        with self._lock:
            self._edges = edges
            self._series = {}
            self._exemplars = {}

    def expect(self, key: KeyT) -> None:
        """Export this series at 0 before its first value."""
        with self._lock:
            self._at(key)

    def observe(self, value: float, key: KeyT) -> None:
        """Count one value."""
        with self._lock:
            counts, total = self._at(key)
            counts[bisect_left(self._edges, value)] += 1
            total[0] += value

    def link(self, value: float, key: KeyT, *, trace_id: str) -> None:
        """Make a trace the exemplar of the bucket of `value`; the latest one is exported.

        The trace may have measured another time than was counted. If the bucket is empty, the exemplar goes to
        the near edge of the nearest bucket that is not.
        """
        with self._lock:
            counts, _ = self._at(key)
            measured = bisect_left(self._edges, value)
            filled = [bucket for bucket, count in enumerate(counts) if count]
            if not filled:
                return
            bucket = min(filled, key=lambda bucket: abs(bucket - measured))
            if bucket < measured:
                value = self._edges[bucket]
            elif bucket > measured:
                value = math.nextafter(self._edges[bucket - 1], math.inf)
            self._exemplars[key, bucket] = Exemplar({"trace_id": trace_id}, value, time.time())

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """The family without samples, for the registry."""
        yield HistogramMetricFamily(self._name, self._text, labels=self._labels)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The family as Prometheus scrapes it: cumulative buckets."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        with self._lock:
            exemplars = self._exemplars.copy()
            bounds = [*map(repr, self._edges), "+Inf"]
            series = {key: (tuple(counts), total[0]) for key, (counts, total) in self._series.items()}
        for key, (counts, total) in series.items():
            below = enumerate(zip(bounds, accumulate(counts), strict=True))
            buckets = [(bound, float(count), exemplars.get((key, index))) for index, (bound, count) in below]
            family.add_metric(key, buckets, total)  # type: ignore[arg-type]  # None is accepted too.
        yield family

    def _at(self, key: KeyT) -> tuple[list[int], list[float]]:
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = ([0] * (len(self._edges) + 1), [0.0])
        return series
