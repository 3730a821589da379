"""The time that the age of records is reckoned by: the clock's, as far as it can be believed.

One look at a clock that is wrong must not delete what people have not judged yet. The time begins where the records
themselves leave it, and then follows the clock at a bounded speed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

DAY = 86_400.0

SPEED = 24.0
"""Days of records that one day may delete: a backlog is deleted in steps, which an operator can stop."""

GAP_SECONDS = DAY
"""How far the clock may be ahead of what is believed, or of the newest record, before it is suspected."""

HOLD_SECONDS = DAY
"""How long a clock that is suspected has to go on as it is until it is believed."""


@dataclass(frozen=True, slots=True)
class Span:
    """Times of the oldest and the newest record, in seconds since 1970."""

    oldest: float
    newest: float


class RetentionClock:
    """Follows the clock. For one thread.

    Args:
        max_seconds: age at which records are deleted.
        clock: seconds since 1970.
        monotonic: seconds that nobody sets.
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
        """Whether it knows where the records left it."""
        return self._believed is not None

    @property
    def is_behind(self) -> bool:
        """Whether records are kept that are too old by the clock."""
        return self._believed is not None and self._seen - self._believed > GAP_SECONDS

    def begin(self, span: Span | None) -> None:
        """Start from what was there before this process wrote anything; None is nothing."""
        self._seen, self._at = self._clock(), self._monotonic()
        self._believed = self._seen
        if span is not None:
            if self._seen - span.newest > GAP_SECONDS:
                self._held_until = self._at + HOLD_SECONDS
            # From here on the oldest record is about to be deleted, and not earlier.
            self._believed = min(self._seen, span.newest, span.oldest + self._max_seconds)

    def now(self) -> float:
        """Seconds since 1970 to reckon ages by; `begin` comes first."""
        clock, at = self._clock(), self._monotonic()
        elapsed = at - self._at
        if clock - self._seen > elapsed + GAP_SECONDS:  # It was set forward while we ran.
            self._held_until = at + HOLD_SECONDS
        self._seen, self._at = clock, at
        speed = 1.0 if at < self._held_until else SPEED
        self._believed = min(clock, (self._believed or 0.0) + speed * elapsed)
        return self._believed
