"""The outcomes of images by source, and the sources that differ from the rest.

In each group of images with the same expected label, Fisher's exact test compares how often a source's images are
discarded, for each reason and for all together, with all other sources' images. Groups are compared separately because
a source that is asked for glasses more often also contradicts more often. Holm's correction covers all tests of one
report.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from heapq import nsmallest
from typing import NamedTuple

from pydantic import BaseModel, Field

from common.statistics import fisher_exact, holm, wilson
from gate import Label, Reason

BINS = 10
"""Score bins of equal width."""

EDGES = tuple(edge / BINS for edge in range(1, BINS))
"""Their inner edges; each belongs to the bin above it."""

LEVEL = 0.001
"""Probability that a report names any source although all are alike."""

MIN_IMAGES = 20
"""A source is compared in a group in which it and the others have this many images."""

MARGIN = 0.05
"""A broken source's share of discarded images, for one reason or for all, exceeds that of the others by this much."""

DISCARDED = tuple(reason for reason in Reason if reason is not Reason.CONFIDENT)


class Cell(NamedTuple):
    """Images that are counted together; `bin` counts from the lowest probability."""

    source: str | None
    expected: Label | None
    bin: int
    reason: Reason


class Share(BaseModel):
    """The images with one outcome: their number, and their share with its 95 % interval (Wilson)."""

    images: int
    ratio: float
    lower: float
    upper: float

    @classmethod
    def of(cls, events: int, images: int) -> "Share":
        """Estimate it from `events` in `images`, at least one."""
        lower, upper = wilson(events, images)
        return cls(images=events, ratio=events / images, lower=lower, upper=upper)


class Outcomes(BaseModel):
    """The outcomes of some images."""

    images: int
    accepted: Share
    uncertain: Share
    contradicted: Share
    unfamiliar: Share


class BinOutcomes(Outcomes):
    """The outcomes in one score bin; only the last bin contains its upper edge."""

    low: float
    high: float


class ExpectedOutcomes(Outcomes):
    """The outcomes of images with one expected label, null if none was sent, and those of its score bins."""

    expected: Label | None
    bins: list[BinOutcomes] = Field(description="Score bins with images, from the lowest")


class Difference(BaseModel):
    """One significant difference between a source and all others, among images with one expected label."""

    expected: Label | None
    reason: Reason | None = Field(description="Null for all reasons to discard together")
    ratio: float = Field(description="Share of the source's images that are discarded for this reason")
    others_ratio: float = Field(description="The same share of all other sources' images")
    p_value: float = Field(description="Of Fisher's exact test, after Holm's correction for all tests of the report")


class SourceOutcomes(Outcomes):
    """One source, null for images without one."""

    source: str | None
    is_compared: bool = Field(description="False if the source, or all others together, have too few images")
    is_broken: bool = Field(description="Whether its images are significantly more often discarded, by 0.05 or more")
    differences: list[Difference] = Field(description="The significant ones, in either direction")
    expected: list[ExpectedOutcomes]


class Comparison(BaseModel):
    """Outcomes by source, broken sources first, then those with the most images."""

    images: int
    source_count: int = Field(description="Number of sources, including those that are not shown")
    tests: int = Field(description="Tests that Holm's correction covers")
    level: float = Field(description="Probability of any difference by chance, in one report on equal sources")
    sources: list[SourceOutcomes]


def compare_sources(counts: Mapping[Cell, int], *, limit: int) -> Comparison:
    """Compare the sources of some images.

    Args:
        counts: number of images of each cell.
        limit: number of sources that are compared and shown: those with the most images. The others count as others.
    """
    images = _count_images(counts)
    shown = _largest(images, limit)
    differences, tests = _compare(counts, shown)
    cells: dict[str | None, Counter[Cell]] = {source: Counter() for source in shown}
    for cell, count in counts.items():
        if cell.source in cells:
            cells[cell.source][cell] += count
    outcomes = [_describe(source, cells[source], differences.get(source)) for source in shown]
    return Comparison(
        images=images.total(),
        source_count=len(images),
        tests=tests,
        level=LEVEL,
        sources=sorted(outcomes, key=lambda outcome: not outcome.is_broken),
    )


def find_broken(counts: Mapping[Cell, int], *, limit: int) -> set[str | None]:
    """Return the sources that `compare_sources` reports as broken, without describing any."""
    differences, _ = _compare(counts, _largest(_count_images(counts), limit))
    return {source for source, differing in differences.items() if _is_broken(differing)}


def bin_of(probability: float) -> int:
    """Return the score bin of a probability."""
    return bisect_right(EDGES, probability)


def _count_images(counts: Mapping[Cell, int]) -> Counter[str | None]:
    images: Counter[str | None] = Counter()
    for cell, count in counts.items():
        images[cell.source] += count
    return images


def _largest(images: Mapping[str | None, int], limit: int) -> list[str | None]:
    return nsmallest(limit, images, key=lambda source: (-images[source], source or ""))


class _Margins:
    """Counts by expected label and reason, of all sources together and of each compared one."""

    def __init__(self, counts: Mapping[Cell, int], sources: Container[str | None]) -> None:
        self._images: Counter[tuple[str | None, Label | None]] = Counter()
        self._events: Counter[tuple[str | None, Label | None, Reason | None]] = Counter()
        self._totals: Counter[Label | None] = Counter()
        self._hits: Counter[tuple[Label | None, Reason | None]] = Counter()
        for (source, expected, _, reason), count in counts.items():
            tests = (reason, None) if reason in DISCARDED else ()
            self._totals[expected] += count
            for tested in tests:
                self._hits[expected, tested] += count
            if source in sources:
                self._images[source, expected] += count
                for tested in tests:
                    self._events[source, expected, tested] += count

    def test(self, source: str | None) -> Iterator[Difference]:
        """Yield all comparisons of one source with the others; their p-values are not corrected yet."""
        for expected, total in self._totals.items():
            own = self._images[source, expected]
            if min(own, total - own) < MIN_IMAGES:
                continue
            for reason in (*DISCARDED, None):
                # Without an expected label an image cannot contradict it.
                if reason is Reason.CONTRADICTED and expected is None:
                    continue
                events = self._events[source, expected, reason]
                others = self._hits[expected, reason] - events
                yield Difference(
                    expected=expected,
                    reason=reason,
                    ratio=events / own,
                    others_ratio=others / (total - own),
                    p_value=fisher_exact((events, own), (others, total - own)),
                )


def _compare(
    counts: Mapping[Cell, int], sources: Collection[str | None]
) -> tuple[dict[str | None, list[Difference]], int]:
    """Return the significant differences of each source that was compared, and the number of tests."""
    margins = _Margins(counts, frozenset(sources))
    tests = [(source, test) for source in sources for test in margins.test(source)]
    compared: dict[str | None, list[Difference]] = {source: [] for source, _ in tests}
    adjusted = holm([test.p_value for _, test in tests])
    for (source, test), p_value in zip(tests, adjusted, strict=True):
        if p_value <= LEVEL:
            compared[source].append(test.model_copy(update={"p_value": p_value}))
    return compared, len(tests)


def _is_broken(differences: Iterable[Difference]) -> bool:
    return any(each.ratio - each.others_ratio >= MARGIN for each in differences)


def _describe(source: str | None, cells: Mapping[Cell, int], differences: list[Difference] | None) -> SourceOutcomes:
    return SourceOutcomes(
        **_outcomes(cells),
        source=source,
        is_compared=differences is not None,
        is_broken=_is_broken(differences or []),
        differences=differences or [],
        expected=list(_by_expected(cells)),
    )


def _by_expected(cells: Mapping[Cell, int]) -> Iterator[ExpectedOutcomes]:
    for expected in (*Label, None):
        group = {cell: count for cell, count in cells.items() if cell.expected is expected}
        if group:
            yield ExpectedOutcomes(**_outcomes(group), expected=expected, bins=list(_by_bin(group)))


def _by_bin(cells: Mapping[Cell, int]) -> Iterator[BinOutcomes]:
    for number in sorted({cell.bin for cell in cells}):
        group = {cell: count for cell, count in cells.items() if cell.bin == number}
        yield BinOutcomes(**_outcomes(group), low=number / BINS, high=(number + 1) / BINS)


def _outcomes(cells: Mapping[Cell, int]) -> dict[str, int | Share]:
    reasons: Counter[Reason] = Counter()
    for cell, count in cells.items():
        reasons[cell.reason] += count
    total = reasons.total()
    names = {reason: "accepted" if reason is Reason.CONFIDENT else reason.value for reason in Reason}
    return {"images": total} | {name: Share.of(reasons[reason], total) for reason, name in names.items()}
