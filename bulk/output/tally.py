"""Counts of accepted, discarded and failed images by source."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from common.source_report import Cell

_MAX_SOURCES = 1_000


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of images that were accepted, discarded, or could not be judged."""

    accepted: int = 0
    discarded: int = 0
    errors: int = 0

    @property
    def images(self) -> int:
        """The sum of all three."""
        return self.accepted + self.discarded + self.errors

    @property
    def reject_ratio(self) -> float:
        """The share of images that were discarded or could not be judged; 0 without images."""
        return (self.discarded + self.errors) / self.images if self.images else 0.0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.accepted + other.accepted, self.discarded + other.discarded, self.errors + other.errors)


class SourceCells:
    """Numbers of decided images for the report by source. Sources after the first 1,000 count as one, None."""

    def __init__(self) -> None:
        self.counts: Counter[Cell] = Counter()
        self._sources: set[str | None] = set()

    def add(self, cell: Cell, images: int = 1) -> None:
        """Count images of one cell."""
        if cell.source not in self._sources:
            if len(self._sources) < _MAX_SOURCES:
                self._sources.add(cell.source)
            else:
                cell = cell._replace(source=None)
        self.counts[cell] += images


@dataclass(frozen=True, slots=True)
class UnitResult:
    """The result of one unit.

    Args:
        slot: the name of its shard.
        counts: counts by source.
        reused: images decided from cached scores.
        kept: the name of its tar in KEEP, if it has one.
        cells: decided images for the report by source.
    """

    slot: str
    counts: Mapping[str, Counts]
    reused: int = 0
    kept: str | None = None
    cells: Mapping[Cell, int] = field(default_factory=dict)

    @property
    def total(self) -> Counts:
        """The counts over all its sources."""
        return sum(self.counts.values(), Counts())


class Tally:
    """Adds up a run from several threads: counts of all of SRC by source, and of this run."""

    def __init__(self) -> None:
        self.sources: dict[str, Counts] = {}
        self.cells = SourceCells()
        self.slots: set[str] = set()
        self.skipped = Counts()
        self.reused = 0
        self._lock = threading.Lock()

    def skip(self, slot: str, counts: Mapping[str, Counts], cells: Mapping[Cell, int]) -> None:
        """Add a unit that is up to date."""
        with self._lock:
            self.slots.add(slot)
            self.skipped = sum(counts.values(), self.skipped)
            self._add(counts, cells)

    def begin(self, slot: str) -> None:
        """Record a unit that has to run."""
        with self._lock:
            self.slots.add(slot)

    def finish(self, result: UnitResult) -> None:
        """Add the result of a unit."""
        with self._lock:
            self.reused += result.reused
            self._add(result.counts, result.cells)

    def _add(self, counts: Mapping[str, Counts], cells: Mapping[Cell, int]) -> None:
        for cell, images in cells.items():
            self.cells.add(cell, images)
        for source, each in counts.items():
            self.sources[source] = self.sources.get(source, Counts()) + each
