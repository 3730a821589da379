"""Decide whether and when a failed request is sent again."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from lensgate_client.errors import GateError, GateUnreachable, NotReady

_RESERVE_SECONDS = 10.0
_MIN_CAPACITY = 10.0
_MAX_DATE_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Retries:
    """Retry settings of a gate object. Retries never extend the `timeout` of a call.

    Args:
        ratio: retries per request, over all calls of a gate object.
        minimum: retries per second that are always allowed, in addition to `ratio`.
        first_wait: longest random wait in seconds before the first retry if the gate names none; doubled each time.
        longest_wait: upper limit of that wait.
        repeat_lost: whether to resend a request whose response was lost after the gate may have decided. The decision
            is the same; the gate then records it twice under the same id.
        longest_outage: longest time in seconds that a call waits for a gate that cannot be reached or is not ready.
    """

    ratio: float = 0.2
    minimum: float = 5.0
    first_wait: float = 0.1
    longest_wait: float = 5.0
    repeat_lost: bool = True
    longest_outage: float = 5.0

    def __post_init__(self) -> None:
        numbers = (self.ratio, self.minimum, self.first_wait, self.longest_wait, self.longest_outage)
        if not all(number >= 0 for number in numbers):  # NaN is refused too.
            raise ValueError("every number of Retries must be >= 0")

    def allow(self, error: GateError) -> bool:
        """Return whether a request that failed with `error` may be sent again."""
        if isinstance(error, GateUnreachable) and error.is_lost:
            return self.repeat_lost
        return error.is_retryable

    def is_outage(self, error: GateError) -> bool:
        """Return whether the gate was not there: no connection, or it is not ready."""
        return isinstance(error, NotReady) or (isinstance(error, GateUnreachable) and not error.is_lost)

    def wait(self, error: GateError, attempt: int, *, chance: float) -> float:
        """Return the seconds to wait after `attempt` (0, 1, ...) failed; `chance` is in [0, 1).

        The wait is never shorter than `Retry-After`; random jitter spreads the clients.
        """
        jitter = chance * min(self.longest_wait, self.first_wait * 2.0 ** min(attempt, 32))
        return (error.retry_after or 0.0) + jitter


class RetryBudget:
    """Token bucket of retries, refilled by each request (`ratio`) and over time (`minimum`). Thread-safe.

    It limits the extra load that retries put on a gate in trouble.

    Args:
        retries: the refill rates.
        clock: monotonic time in seconds.
    """

    def __init__(self, retries: Retries, clock: Callable[[], float]) -> None:
        self._retries = retries
        self._clock = clock
        self._available = _RESERVE_SECONDS * retries.minimum
        self._capacity = max(_MIN_CAPACITY, self._available)
        self._refilled_at = clock()
        self._lock = threading.Lock()

    def deposit(self) -> None:
        """Refill for one new request."""
        with self._lock:
            self._available = min(self._capacity, self._available + self._retries.ratio)

    def withdraw(self) -> bool:
        """Take one retry; return False if the bucket is empty."""
        with self._lock:
            now = self._clock()
            refill = (now - self._refilled_at) * self._retries.minimum
            self._available = min(self._capacity, self._available + refill)
            self._refilled_at = now
            if self._available < 1.0:
                return False
            self._available -= 1.0
            return True


def read_retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the seconds of a Retry-After header, given as a number or a date; None if it is missing or malformed.

    A date is compared with the Date header of the same response, so that the clocks may differ.

    Args:
        headers: headers of the response, names in lower case.
        now: Unix time, used if the response has no Date header.
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
    if len(text) > _MAX_DATE_CHARACTERS:
        return None
    try:
        date: datetime = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ArithmeticError, LookupError, TypeError, ValueError):  # The parser raises any of them on malformed dates.
        return None
