"""Counts of what became of images, by source."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Images accepted, discarded, and those that could not be judged."""

    accepted: int = 0
    discarded: int = 0
    errors: int = 0

    @property
    def images(self) -> int:
        """All of them."""
        return self.accepted + self.discarded + self.errors

    @property
    def reject_ratio(self) -> float:
        """The share that did not pass the gate: discarded or not to be judged. 0 of none."""
        return (self.discarded + self.errors) / self.images if self.images else 0.0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.accepted + other.accepted, self.discarded + other.discarded, self.errors + other.errors)


@dataclass(frozen=True, slots=True)
class UnitResult:
    """What became of one unit: counts by source, and of its images those whose scores were known already.

    `kept` is the name of its tar in KEEP, if it has one.
    """

    slot: str
    counts: Mapping[str, Counts]
    reused: int = 0
    kept: str | None = None

    @property
    def total(self) -> Counts:
        """Over all its sources."""
        return sum(self.counts.values(), Counts())


class Tally:
    """What a run adds up, from several threads: counts of all of SRC by source, and what came of this run."""

    def __init__(self) -> None:
        self.sources: dict[str, Counts] = {}
        self.slots: set[str] = set()
        self.skipped = Counts()
        self.reused = 0
        self._lock = threading.Lock()

    def skip(self, slot: str, counts: Mapping[str, Counts]) -> None:
        """A part that was done before."""
        with self._lock:
            self.slots.add(slot)
            self.skipped = sum(counts.values(), self.skipped)
            self._add(counts)

    def begin(self, slot: str) -> None:
        """A part that is to be done now."""
        with self._lock:
            self.slots.add(slot)

    def finish(self, result: UnitResult) -> None:
        """A part that was done now."""
        with self._lock:
            self.reused += result.reused
            self._add(result.counts)

    def _add(self, counts: Mapping[str, Counts]) -> None:
        for source, each in counts.items():
            self.sources[source] = self.sources.get(source, Counts()) + each
