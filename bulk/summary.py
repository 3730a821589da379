"""The summary of a run: counts for all of SRC by source, and the work of this run."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

from bulk.output.failures import Failure
from bulk.output.tally import Counts
from bulk.sources.ignored import describe_ignored
from common.source_report import Cell, Comparison, compare_sources
from common.terminal import escape_controls

# A longer table shows the sources with the highest reject ratio.
_MAX_LINES = 20
_OUTCOMES = ("accepted", "uncertain", "contradicted", "unfamiliar")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of all images of SRC, including those judged by earlier runs, and the work of this run.

    Args:
        sources: counts by folder, tar or Parquet file.
        skipped: images judged by earlier runs.
        reused: images decided from cached scores.
        removed: deleted shards of units that are no longer in SRC.
        seconds: duration of the run.
        ignored: entries of SRC in other formats, by suffix.
        held_back: shards that were kept because their folder could not be listed.
        cells: decided images for the comparison of sources: named ones, otherwise folders, tars and Parquet files.
        failures: images that could not be judged, by code.
        strays: tars in KEEP without a shard in DST.
        source_column: the column that names sources, if one was asked for.
    """

    sources: Mapping[str, Counts]
    skipped: Counts
    reused: int
    removed: int
    seconds: float
    ignored: Mapping[str, int] = field(default_factory=dict)
    held_back: int = 0
    cells: Mapping[Cell, int] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    strays: tuple[str, ...] = ()
    source_column: str | None = None

    @property
    def total(self) -> Counts:
        """All images of SRC."""
        return sum(self.sources.values(), Counts())

    @property
    def judged(self) -> int:
        """Images judged by this run."""
        return self.total.images - self.skipped.images

    @property
    def rate(self) -> float:
        """Images per second of this run."""
        return self.judged / self.seconds if self.seconds else 0.0

    def compare(self) -> Comparison:
        """Compare the sources with the most images."""
        return compare_sources(self.cells, limit=_MAX_LINES)

    def to_json(self) -> str:
        """Return the summary as one line of JSON."""
        return json.dumps(
            {
                **_fields(self.total),
                "judged": self.judged,
                "skipped": self.skipped.images,
                "reused": self.reused,
                "removed_shards": self.removed,
                "held_back_shards": self.held_back,
                "stray_tars": len(self.strays),
                "ignored": dict(self.ignored),
                "failures": [asdict(failure) for failure in self.failures],
                "seconds": round(self.seconds, 3),
                "images_per_second": round(self.rate, 1),
                "sources": {source: _fields(counts) for source, counts in sorted(self.sources.items())},
                "comparison": self.compare().model_dump(mode="json"),
            }
        )

    @property
    def is_empty_handed(self) -> bool:
        """Whether no image was judged although SRC holds failed images or ignored files."""
        total = self.total
        return total.images == total.errors and bool(total.errors or self.ignored)

    def warnings(self) -> Iterator[str]:
        """Yield caveats: ignored files, shards that could not be checked, tars of no shard, and unknown sources."""
        if self.ignored:
            yield describe_ignored(self.ignored)
        if self.held_back:
            yield f"{self.held_back:,} shards could not be checked and were kept: their folder cannot be listed"
        if self.strays:
            yield (
                f"tars in KEEP without a shard in DST: {len(self.strays):,}, such as {self.strays[0]}: "
                "remove them, unless they belong to another table"
            )
        unnamed = sum(images for cell, images in self.cells.items() if cell.source in self.sources)
        if unnamed and self.source_column is not None:
            yield f"{unnamed:,} images name no source: {escape_controls(self.source_column)!r} is missing or null"

    def lines(self) -> Iterator[str]:
        """Yield the summary as a text table."""
        shown = sorted(self.sources.items(), key=lambda pair: (-pair[1].reject_ratio, pair[0]))[:_MAX_LINES]
        shown = [(escape_controls(source), counts) for source, counts in shown]
        width = max(len(source) for source in ["source", *dict(shown)])
        yield f"{'source':{width}} {'images':>11} {'accepted':>11} {'discarded':>11} {'errors':>9} {'rejected':>9}"
        for source, counts in sorted(shown):
            yield _line(source, counts, width)
        if left := len(self.sources) - len(shown):
            yield f"and {left:,} sources with no higher reject ratio"
        yield _line("all", self.total, width)
        yield from self._comparison()
        for failure in self.failures:
            yield escape_controls(f"{failure.images:,} {failure.code}, such as {failure.example}: {failure.detail}")
        yield from self.warnings()
        yield f"{self.judged:,} judged in {self.seconds:.1f} s, {self.rate:,.1f} images/s; {self._notes()}"

    def _comparison(self) -> Iterator[str]:
        """Yield a line for each named source, and what is worse about a broken one."""
        for outcomes in self.compare().sources:
            name = "further sources" if outcomes.source is None else escape_controls(outcomes.source)
            if outcomes.source not in self.sources:
                shares = (f"{getattr(outcomes, outcome).ratio:.1%} {outcome}" for outcome in _OUTCOMES)
                yield f"{name}: {outcomes.images:,} images, {', '.join(shares)}"
            for each in outcomes.differences if outcomes.is_broken else ():
                expected = f", expected {each.expected}" if each.expected else ""
                outcome = each.reason or "discarded"
                yield f"{name} differs: {outcome} {each.ratio:.1%}, others {each.others_ratio:.1%}{expected}"

    def _notes(self) -> str:
        notes = [f"{self.skipped.images:,} skipped", f"{self.reused:,} scores reused"]
        return ", ".join([*notes, f"{self.removed:,} stale shards removed"] if self.removed else notes)


def _fields(counts: Counts) -> dict[str, float]:
    return {
        "images": counts.images,
        "accepted": counts.accepted,
        "discarded": counts.discarded,
        "errors": counts.errors,
        "reject_ratio": round(counts.reject_ratio, 6),
    }


def _line(source: str, counts: Counts, width: int) -> str:
    numbers = f"{counts.images:11,} {counts.accepted:11,} {counts.discarded:11,} {counts.errors:9,}"
    return f"{source:{width}} {numbers} {counts.reject_ratio:9.4f}"
