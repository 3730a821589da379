"""What a filter counts, when it has enough and when it gives up. Pure: no gate, no generator."""

from collections import Counter
from dataclasses import dataclass, field

from lensgate_client.errors import GaveUp
from lensgate_client.models import Decision, Outcome


@dataclass(slots=True)
class FilterStats:
    """Counts of the images that a filter has seen so far.

    `discarded` is by the decision's reason, `errors` by the code of what could not be judged; `last_error` says what
    was wrong with the last of these.
    """

    seen: int = 0
    accepted: int = 0
    discarded: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    last_error: str | None = None

    @property
    def reject_ratio(self) -> float:
        """The share of what was seen that was not accepted; 0 before anything was."""
        return 1.0 - self.accepted / self.seen if self.seen else 0.0

    def __str__(self) -> str:
        rejected = (self.discarded + self.errors).most_common()
        reasons = ", ".join(f"{count:,} {name}" for name, count in rejected)
        return f"{self.accepted:,} of {self.seen:,} images accepted" + (f" ({reasons})" if reasons else "")

    def count(self, outcome: Outcome) -> None:
        """Take in one image."""
        self.seen += 1
        if outcome.accepted:
            self.accepted += 1
        elif isinstance(outcome, Decision):
            self.discarded[outcome.reason] += 1
        else:
            self.errors[outcome.code] += 1
            self.last_error = outcome.detail


@dataclass(frozen=True, slots=True)
class Limits:
    """When a filter gives up.

    Args:
        max_reject_ratio: share of what was seen that may be rejected, once there are `min_samples`.
        min_samples: before so many were seen no ratio says anything.
        max_samples: most images that are looked at; None is no limit.
    """

    max_reject_ratio: float
    min_samples: int
    max_samples: int | None

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_reject_ratio <= 1.0:
            raise ValueError(f"max_reject_ratio is from 0 to 1, not {self.max_reject_ratio}")
        if self.min_samples < 1 or (self.max_samples is not None and self.max_samples < 1):
            raise ValueError("min_samples and max_samples are 1 or more")

    def check(self, stats: FilterStats) -> None:
        """Raise GaveUp where there is no sense in going on."""
        if stats.seen >= self.min_samples and stats.reject_ratio > self.max_reject_ratio:
            raise _gave_up(
                stats,
                f"{stats.reject_ratio:.1%} are rejected, {self.max_reject_ratio:.1%} may be; look at what the "
                "generator makes, or at what it is expected to make",
            )
        if self.max_samples is not None and stats.seen >= self.max_samples:
            raise _gave_up(stats, f"max_samples is {self.max_samples:,}")


class Take:
    """One round of filtering, until `count` images are accepted, or for as long as there are any where it is None."""

    def __init__(self, limits: Limits, count: int | None) -> None:
        if count is not None and count < 1:
            raise ValueError(f"count is 1 or more, or None, not {count}")
        self.stats = FilterStats()
        self._limits = limits
        self._count = count

    def keeps(self, outcome: Outcome) -> bool:
        """Take in one image; whether it is handed out."""
        self.stats.count(outcome)
        return outcome.accepted

    def is_complete(self) -> bool:
        """Whether there are enough.

        Raises:
            GaveUp: there are not, and there is no sense in going on.
        """
        if self.stats.accepted == self._count:
            return True
        self._limits.check(self.stats)
        return False

    def end(self) -> None:
        """The generator makes no more; raises GaveUp where that is too early."""
        if self._count is not None:
            raise _gave_up(self.stats, f"the generator has ended, and {self._count:,} were asked for")


def _gave_up(stats: FilterStats, reason: str) -> GaveUp:
    last = "" if stats.last_error is None else f". What could not be judged last: {stats.last_error}"
    return GaveUp(f"{stats}: {reason}{last}")
