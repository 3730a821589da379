"""Decisions by source, for the sources that a setting lists."""

from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from gate import Label, Reason
from service.metrics.instruments import LabelledCounter
from service.metrics.merging import make_gauge

UNLISTED = "other"
"""The label of all sources that are not listed: callers invent any number of them."""

ABSENT = "none"
"""The label of images without a source, and of images without an expected label."""


class _SourceKey(NamedTuple):
    source: str
    expected: str
    reason: str


class SourceMetrics:
    """Counts decisions by source, and shows which sources differ from the rest. Thread-safe.

    Each listed source adds 12 series of decisions and one gauge. Workers compare the same records at different times;
    together they show a source as broken if the newest look of one of them found it.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._listed: frozenset[str] = frozenset()
        self._decisions: LabelledCounter[_SourceKey] = LabelledCounter(
            "lensgate_source_decisions", "Decisions by source", _SourceKey._fields, registry=registry
        )
        self._broken = make_gauge(
            "source_broken",
            "1 while the source has significantly more discarded images than the others",
            ["source"],
            merge="max",
            registry=registry,
        )
        self.expect(())

    def expect(self, sources: Iterable[str]) -> None:
        """Count these sources by name, and export their series at 0."""
        self._listed = self._listed.union(sources)
        for source in (*sorted(self._listed), UNLISTED, ABSENT):
            self._broken.labels(source)
            for expected in (*Label, ABSENT):
                for reason in Reason:
                    self._decisions.expect(_SourceKey(source, expected, reason))

    def observe(self, source: str | None, expected: Label | None, reason: Reason) -> None:
        """Count one decision."""
        self._decisions.add(_SourceKey(self._name(source), expected or ABSENT, reason))

    def show_broken(self, sources: Iterable[str | None]) -> None:
        """Export which sources have significantly more discarded images, and reset all others."""
        broken = {self._name(source) for source in sources}
        for label in (*self._listed, UNLISTED, ABSENT):
            self._broken.labels(label).set(label in broken)

    def _name(self, source: str | None) -> str:
        if source is None:
            return ABSENT
        return source if source in self._listed else UNLISTED
