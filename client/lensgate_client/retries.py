"""When a request is sent once more: how long to wait before, and how often in all."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from lensgate_client.errors import GateError, GateUnreachable

_RESERVE_SECONDS = 10.0
_LEAST_CAPACITY = 10.0
_LONGEST_DATE = 64


@dataclass(frozen=True, slots=True)
class Retries:
    """How much is repeated. None of it outlasts the call's `timeout`.

    Args:
        ratio: retries for each request, over all calls of a gate object.
        minimum: retries a second that there may be whatever the ratio.
        first_wait: seconds to wait at most before the first retry where the gate does not say; doubled each time.
        longest_wait: where that ends.
        repeat_lost: whether to send again what may have been decided because its answer was lost. The decision is the
            same; the gate's record then has it twice, under the same id.
    """

    ratio: float = 0.2
    minimum: float = 5.0
    first_wait: float = 0.1
    longest_wait: float = 5.0
    repeat_lost: bool = True

    def __post_init__(self) -> None:
        if min(self.ratio, self.minimum, self.first_wait, self.longest_wait) < 0:
            raise ValueError("of Retries every number is 0 or more")

    def allow(self, error: GateError) -> bool:
        """Whether what ended so may be sent again."""
        if isinstance(error, GateUnreachable) and error.is_lost:
            return self.repeat_lost
        return error.is_retryable

    def wait(self, error: GateError, attempt: int, *, chance: float) -> float:
        """Seconds before the next try after `attempt` (0, 1, ...) failed; `chance` is in [0, 1).

        Never earlier than the gate says, and not all at the same moment.
        """
        spread = chance * min(self.longest_wait, self.first_wait * 2.0 ** min(attempt, 32))
        return (error.retry_after or 0.0) + spread


class RetryBudget:
    """A bucket of retries: requests fill it by `ratio` each, time by `minimum` a second. Threads share it.

    It keeps a gate in trouble from being sent many times what it was sent before.

    Args:
        retries: the two rates.
        clock: seconds that only go forward.
    """

    def __init__(self, retries: Retries, clock: Callable[[], float]) -> None:
        self._retries = retries
        self._clock = clock
        self._left = _RESERVE_SECONDS * retries.minimum
        self._most = max(_LEAST_CAPACITY, self._left)
        self._filled = clock()
        self._lock = threading.Lock()

    def deposit(self) -> None:
        """A request is sent for the first time."""
        with self._lock:
            self._left = min(self._most, self._left + self._retries.ratio)

    def withdraw(self) -> bool:
        """Take one retry, if there is one."""
        with self._lock:
            now = self._clock()
            self._left = min(self._most, self._left + (now - self._filled) * self._retries.minimum)
            self._filled = now
            if self._left < 1.0:
                return False
            self._left -= 1.0
            return True


def read_retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds of a Retry-After header, a number or a date; None where there is none that makes sense.

    A date is held against the answer's own Date, so that clocks may differ.

    Args:
        headers: of the answer, names in lower case.
        now: seconds of the epoch, for an answer without a Date.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    until = _read_date(text)
    if until is None:
        return None
    sent = _read_date(headers.get("date", ""))
    return max(0.0, until - (now if sent is None else sent))


def _read_date(text: str) -> float | None:
    if len(text) > _LONGEST_DATE:
        return None
    try:
        found: datetime = parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ArithmeticError, LookupError, TypeError, ValueError):  # The parser raises any of them on malformed dates.
        return None
