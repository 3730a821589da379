"""Counts and stop conditions of a filter, without I/O."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lensgate_client._pixels.arguments import as_number, is_whole
from lensgate_client.errors import GaveUp, quoted
from lensgate_client.models import Decision, Outcome


class Counts(Counter[str]):
    """A `Counter` that `dataclasses.asdict` copies: it passes pairs, which a `Counter` would count."""

    def __init__(self, counts: Mapping[str, int] | Iterable[tuple[str, int]] = ()) -> None:
        super().__init__(dict(counts))


@dataclass(slots=True)
class FilterStats:
    """Counts of the images that a filter has processed.

    `discarded` counts by the decision's reason, `errors` by the code of images that could not be scored; `last_error`
    is the text of the latest of these errors.
    """

    seen: int = 0
    accepted: int = 0
    discarded: Counter[str] = field(default_factory=Counts)
    errors: Counter[str] = field(default_factory=Counts)
    last_error: str | None = None

    @property
    def reject_ratio(self) -> float:
        """Share of the processed images that were not accepted; 0 before the first image."""
        return 1.0 - self.accepted / self.seen if self.seen else 0.0

    def __str__(self) -> str:
        rejected = (self.discarded + self.errors).most_common()
        reasons = ", ".join(f"{count:,} {name}" for name, count in rejected)
        return f"{self.accepted:,} of {self.seen:,} images accepted" + (f" ({reasons})" if reasons else "")

    def count(self, outcome: Outcome) -> None:
        """Add one image."""
        self.seen += 1
        if outcome.accepted:
            self.accepted += 1
        elif isinstance(outcome, Decision):
            self.discarded[outcome.reason] += 1
        else:
            self.errors[outcome.code] += 1
            self.last_error = outcome.detail


@dataclass(frozen=True, slots=True)
class RejectLimits:
    """Limits after which a filter gives up.

    Args:
        max_reject_ratio: largest share of rejected images, checked after `min_samples`.
        min_samples: images that must be processed before the ratio is checked.
        max_samples: most images to process; None means no limit.
    """

    max_reject_ratio: float
    min_samples: int
    max_samples: int | None

    def __post_init__(self) -> None:
        if not 0.0 <= as_number(self.max_reject_ratio) <= 1.0:
            raise ValueError(f"max_reject_ratio must be from 0 to 1, not {quoted(self.max_reject_ratio)}")
        if self.min_samples < 1 or (self.max_samples is not None and self.max_samples < 1):
            raise ValueError("min_samples and max_samples must be >= 1")

    def check(self, stats: FilterStats) -> None:
        """Raise GaveUp if a limit is exceeded."""
        if stats.seen >= self.min_samples and stats.reject_ratio > self.max_reject_ratio:
            raise _gave_up(
                stats,
                f"the reject ratio {stats.reject_ratio:.1%} exceeds {self.max_reject_ratio:.1%}; check the output of "
                "the generator and the expected label",
            )
        if self.max_samples is not None and stats.seen >= self.max_samples:
            raise _gave_up(stats, f"max_samples is {self.max_samples:,}")


class FilterRun:
    """One run of a filter, until `count` images are accepted; all images if `count` is None."""

    def __init__(self, limits: RejectLimits, count: int | None) -> None:
        if count is not None and not is_whole(count):
            raise ValueError(f"count must be an integer >= 1 or None, not {quoted(count)}")
        self.stats = FilterStats()
        self._limits = limits
        self._wanted = None if count is None else int(count)

    @property
    def is_complete(self) -> bool:
        """Whether enough images are accepted."""
        return self.stats.accepted == self._wanted

    def check_limits(self) -> None:
        """Raise GaveUp if a limit is exceeded."""
        self._limits.check(self.stats)

    def check_judged(self) -> None:
        """Raise GaveUp if no sample could be judged: of a few, `take` would yield none and tell no reason."""
        if self.stats.seen and self.stats.errors.total() == self.stats.seen:
            raise _gave_up(self.stats, "no sample could be judged")

    def end(self) -> None:
        """Handle the end of the samples; raise GaveUp if images are missing."""
        if self._wanted is not None:
            raise _gave_up(self.stats, f"the samples ended before {self._wanted:,} images were accepted")


def _gave_up(stats: FilterStats, reason: str) -> GaveUp:
    last = "" if stats.last_error is None else f". The last image that could not be scored: {stats.last_error}"
    return GaveUp(f"{stats}: {reason}{last}")
