"""The time by which the age of records is measured: the system clock, with bounded speed.

A wrong system clock must not delete unreviewed records at once. The time starts at the newest record and follows the
clock at a bounded speed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

DAY = 86_400.0

SPEED = 24.0
"""Days of records that may expire per day: a backlog is deleted in steps, so that an operator can intervene."""

GAP_SECONDS = DAY
"""How far the system clock may be ahead of this time, or of the newest record, before it counts as suspicious."""

HOLD_SECONDS = DAY
"""How long a suspicious clock must run steadily before this time follows it faster."""


@dataclass(frozen=True, slots=True)
class Span:
    """Times of the oldest and the newest record, in seconds since 1970."""

    oldest: float
    newest: float


class RetentionClock:
    """Follows the system clock. Use from one thread only.

    Args:
        max_seconds: age at which records are deleted.
        clock: system clock in seconds since 1970.
        monotonic: monotonic clock in seconds.
    """

    def __init__(
        self,
        max_seconds: float,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_seconds = max_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._believed: float | None = None
        self._seen = self._at = 0.0
        self._held_until = float("-inf")

    @property
    def is_begun(self) -> bool:
        """Whether `begin` was called."""
        return self._believed is not None

    @property
    def clock(self) -> float:
        """The system clock at the last look at it."""
        return self._seen

    @property
    def is_behind(self) -> bool:
        """Whether this time lags far behind the system clock."""
        return self._believed is not None and self._seen - self._believed > GAP_SECONDS

    def begin(self, span: Span | None) -> None:
        """Start from the records of earlier processes; None for an empty store."""
        self._seen, self._at = self._clock(), self._monotonic()
        self._believed = self._seen
        if span is not None:
            if self._seen - span.newest > GAP_SECONDS:
                self._held_until = self._at + HOLD_SECONDS
            # Start no later than the expiry of the oldest record.
            self._believed = min(self._seen, span.newest, span.oldest + self._max_seconds)

    def now(self) -> float:
        """Return the time in seconds since 1970; call `begin` first."""
        clock, at = self._clock(), self._monotonic()
        elapsed = at - self._at
        if clock - self._seen > elapsed + GAP_SECONDS:  # The clock was set forward.
            self._held_until = at + HOLD_SECONDS
        self._seen, self._at = clock, at
        speed = 1.0 if at < self._held_until else SPEED
        self._believed = min(clock, (self._believed or 0.0) + speed * elapsed)
        return self._believed
