"""The summary of a run: what SRC came to, source by source, and what this run had to do with it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bulk.output.tally import Counts
from bulk.sources.ignored import describe

# More sources than a screen holds are told by those that fare worst.
_MOST_LINES = 20


@dataclass(frozen=True, slots=True)
class Summary:
    """All images of SRC by source, those of earlier runs too; of this run what it judged, skipped and removed.

    `reused`: images judged by scores that were known. `removed`: shards of parts that are not in SRC any more.
    `held_back`: shards that stayed since their folder could not be listed. `ignored`: entries of SRC that are not of
    the kind that is judged, by ending.
    """

    sources: Mapping[str, Counts]
    skipped: Counts
    reused: int
    removed: int
    seconds: float
    ignored: Mapping[str, int] = field(default_factory=dict)
    held_back: int = 0

    @property
    def total(self) -> Counts:
        """All images of SRC."""
        return sum(self.sources.values(), Counts())

    @property
    def judged(self) -> int:
        """Images of this run."""
        return self.total.images - self.skipped.images

    @property
    def rate(self) -> float:
        """Images a second of this run."""
        return self.judged / self.seconds if self.seconds else 0.0

    def to_json(self) -> str:
        """One line for machines."""
        return json.dumps(
            {
                **_fields(self.total),
                "judged": self.judged,
                "skipped": self.skipped.images,
                "reused": self.reused,
                "removed_shards": self.removed,
                "held_back_shards": self.held_back,
                "ignored": dict(self.ignored),
                "seconds": round(self.seconds, 3),
                "images_per_second": round(self.rate, 1),
                "sources": {source: _fields(counts) for source, counts in sorted(self.sources.items())},
            }
        )

    @property
    def is_empty_handed(self) -> bool:
        """Whether not one image was judged, though SRC holds some that failed or files that were ignored."""
        total = self.total
        return total.images == total.errors and bool(total.errors or self.ignored)

    def warnings(self) -> Iterator[str]:
        """What a reader of the figures must know: files that were ignored, shards that could not be checked."""
        if self.ignored:
            yield describe(self.ignored)
        if self.held_back:
            yield f"{self.held_back:,} shards stay that could not be checked: their folder cannot be listed"

    def lines(self) -> Iterator[str]:
        """A table for people."""
        shown = sorted(self.sources.items(), key=lambda pair: (-pair[1].reject_ratio, pair[0]))[:_MOST_LINES]
        shown = [(_printable(source), counts) for source, counts in shown]
        width = max(len(source) for source in ["source", *dict(shown)])
        yield f"{'source':{width}} {'images':>11} {'accepted':>11} {'discarded':>11} {'errors':>9} {'rejected':>9}"
        for source, counts in sorted(shown):
            yield _line(source, counts, width)
        if left := len(self.sources) - len(shown):
            yield f"and {left:,} sources of which less was rejected"
        yield _line("all", self.total, width)
        yield from self.warnings()
        yield f"{self.judged:,} judged in {self.seconds:.1f} s, {self.rate:,.1f} images/s; {self._notes()}"

    def _notes(self) -> str:
        notes = [f"{self.skipped.images:,} done before", f"{self.reused:,} scores known"]
        return ", ".join([*notes, f"{self.removed:,} shards of what is gone removed"] if self.removed else notes)


def _fields(counts: Counts) -> dict[str, float]:
    return {
        "images": counts.images,
        "accepted": counts.accepted,
        "discarded": counts.discarded,
        "errors": counts.errors,
        "reject_ratio": round(counts.reject_ratio, 6),
    }


def _printable(name: str) -> str:
    """Escape control characters, which a terminal would obey."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in name)


def _line(source: str, counts: Counts, width: int) -> str:
    numbers = f"{counts.images:11,} {counts.accepted:11,} {counts.discarded:11,} {counts.errors:9,}"
    return f"{source:{width}} {numbers} {counts.reject_ratio:9.4f}"
