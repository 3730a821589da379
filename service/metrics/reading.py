"""One reading of all metrics of a worker, and the sum of several."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from service.metrics.drift import DecisionWindow
from service.metrics.merging import Merge, or_nan, rule_of
from service.metrics.snapshot import Distribution

Key = tuple[str, tuple[str, ...]]
"""Name of a sample and the values of its labels."""

_ADDED = frozenset({"counter", "histogram"})
_JOINS: Mapping[Merge, Callable[[float, float], float]] = {
    "sum": lambda one, other: one + other,
    "max": max,
    "min": min,
    "asked": lambda one, _: one,
}


@dataclass(slots=True)
class Family:
    """All samples of one metric."""

    kind: str
    text: str
    samples: dict[Key, Sample]


@dataclass(slots=True)
class Reading:
    """The metrics of one or several workers at one time.

    Args:
        families: by name.
        window: recent decisions.
    """

    families: dict[str, Family]
    window: DecisionWindow

    @classmethod
    def of(cls, registry: CollectorRegistry, window: DecisionWindow) -> "Reading":
        """Read the metrics of this process."""
        families = {each.name: _family(each.type, each.documentation, each.samples) for each in registry.collect()}
        return cls(families, window)

    @classmethod
    def decode(cls, data: bytes) -> "Reading":
        """Return what `encode` was called on, without the series at 0."""
        families, window = orjson.loads(data)
        return cls(
            {
                name: _family(
                    kind, text, (Sample(sample_name, labels, or_nan(value)) for sample_name, labels, value in samples)
                )
                for name, kind, text, samples in families
            },
            DecisionWindow(*window),
        )

    def encode(self) -> bytes:
        """Return it as bytes. Counters at 0 and empty histograms are left out: every worker has them."""
        families = [
            [name, family.kind, family.text, [[s.name, s.labels, s.value] for s in _counted(family)]]
            for name, family in self.families.items()
        ]
        return orjson.dumps([families, self.window.values()])

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, as a registry does."""
        for name, family in self.families.items():
            metric = Metric(name, family.text, family.kind)
            metric.samples = list(family.samples.values())
            yield metric

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a counter's or gauge's samples with these labels."""
        return sum(s.value for s in self._samples(name) if labels.items() <= s.labels.items())

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the labels of all samples of a metric that are not 0."""
        return [sample.labels for sample in self._samples(name) if sample.value]

    def distributions(self, name: str) -> dict[tuple[str, ...], Distribution]:
        """Return a histogram's values by its other labels' values."""
        series: dict[tuple[str, ...], tuple[dict[float, float], list[float]]] = {}
        for sample in self._samples(name):
            below, total = series.setdefault(_series(sample), ({}, [0.0]))
            if sample.name.endswith("_bucket"):
                below[float(sample.labels["le"])] = sample.value
            elif sample.name.endswith("_sum"):
                total[0] = sample.value
        return {key: _distribution(below, total[0]) for key, (below, total) in series.items()}

    def add(self, other: "Reading", *, is_alive: bool) -> None:
        """Add the metrics of another worker; of a dead one only what is counted since the start."""
        for name, family in other.families.items():
            if family.kind not in _ADDED and not is_alive:
                continue
            own = self.families.setdefault(name, Family(family.kind, family.text, {}))
            # Histograms over other edges, those of another band, cannot be added.
            if _edges(own) == _edges(family) or not (own.samples and family.samples):
                _join(own, family, merge="sum" if family.kind in _ADDED else rule_of(name))
        if is_alive:
            self.window = self.window.plus(other.window)

    def drop_restarted(self, current: "Reading") -> None:
        """Drop the histograms that `current` counts over other edges.

        They have restarted at 0: a return to the old edges must not return the old counts, which would look like new
        events.
        """
        for name, family in current.families.items():
            mine = self.families.get(name)
            if mine is not None and family.samples and _edges(mine) != _edges(family):
                del self.families[name]

    def replace(self, name: str, *samples: Sample) -> None:
        """Replace the samples of a metric."""
        family = self.families[name]
        self.families[name] = _family(family.kind, family.text, samples)

    def _samples(self, name: str) -> Iterable[Sample]:
        family = self.families.get(name)
        return family.samples.values() if family else ()


def _family(kind: str, text: str, samples: Iterable[Sample]) -> Family:
    return Family(kind, text, {(sample.name, tuple(sample.labels.values())): sample for sample in samples})


def _counted(family: Family) -> Iterable[Sample]:
    if family.kind == "counter":
        return (sample for sample in family.samples.values() if sample.value)
    if family.kind == "histogram":
        counted = {_series(s) for s in family.samples.values() if s.name.endswith("_count") and s.value}
        return (sample for sample in family.samples.values() if _series(sample) in counted)
    return family.samples.values()


def _series(sample: Sample) -> tuple[str, ...]:
    return tuple(value for label, value in sample.labels.items() if label != "le")


def _join(own: Family, other: Family, *, merge: Merge) -> None:
    join = _JOINS.get(merge)
    if join is None:
        return
    for key, sample in other.samples.items():
        mine = own.samples.get(key)
        if mine is None or math.isnan(mine.value):
            own.samples[key] = sample
        elif not math.isnan(sample.value):
            # The exemplar of the worker that answers stays.
            own.samples[key] = mine._replace(value=join(mine.value, sample.value))


def _edges(family: Family) -> set[str]:
    return {sample.labels["le"] for sample in family.samples.values() if "le" in sample.labels}


def _distribution(below: Mapping[float, float], total: float) -> Distribution:
    edges = sorted(below)
    counts = [round(below[edge]) for edge in edges]
    inside = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    return Distribution(tuple(edges[:-1]), tuple(inside), total)
