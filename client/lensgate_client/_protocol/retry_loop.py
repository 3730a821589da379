"""Calls as generators without I/O (sans-I/O): a call yields attempts, receives their results and returns its value.

The blocking and the asynchronous client share these rules and differ only in how they send and wait.
"""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from lensgate_client._protocol.requests import GateRequest, GateResponse
from lensgate_client._protocol.responses import read_error
from lensgate_client.errors import DeadlineExceeded, GateError
from lensgate_client.retries import Retries, RetryBudget

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Attempt:
    """Wait for `delay` seconds, then send the request with a timeout of `seconds`."""

    request: GateRequest
    seconds: float
    delay: float = 0.0


AttemptResult = GateResponse | GateError
"""The response to an attempt, or the error that prevented it."""

Call = Generator[Attempt, AttemptResult, _Result]


class RetryLoop:
    """Repeats a request until it succeeds, fails for good, or runs out of time. Thread-safe.

    Args:
        retries: the retry settings.
        clock: monotonic time in seconds.
        chance: returns a random number in [0, 1).
    """

    def __init__(self, retries: Retries, *, clock: Callable[[], float], chance: Callable[[], float]) -> None:
        self._retries = retries
        self._clock = clock
        self._chance = chance
        self._budget = RetryBudget(retries, clock)

    def deadline(self, timeout: float) -> float:
        """Return the deadline of a call that starts now."""
        return self._clock() + timeout

    def seconds_left(self, deadline: float) -> float:
        """Return the time to a deadline."""
        return deadline - self._clock()

    def run(self, build_request: Callable[[float], GateRequest], deadline: float) -> Call[GateResponse]:
        """Return the response with status 200.

        Args:
            build_request: creates the request, given the seconds left for it.
            deadline: when the call must end, by the clock.

        Raises:
            GateError: the last attempt failed with this error.
        """
        self._budget.deposit()
        attempt, delay = 0, 0.0
        down_since: float | None = None
        while True:
            left = self.seconds_left(deadline) - delay
            if left <= 0:
                raise DeadlineExceeded("the call timed out before its request was sent")
            result = self._check((yield Attempt(build_request(left), left, delay)))
            if isinstance(result, GateResponse):
                return result
            if not self._retries.is_outage(result):
                down_since = None
            elif down_since is None:
                down_since = deadline - left
            delay = self._next_delay(result, attempt, deadline, down_since=down_since)
            attempt += 1

    def _check(self, result: AttemptResult) -> AttemptResult:
        """Return the response with status 200, or the error."""
        return result if isinstance(result, GateError) else read_error(result, now=time.time()) or result

    def _next_delay(self, error: GateError, attempt: int, deadline: float, *, down_since: float | None) -> float:
        """Return the seconds until the next attempt; raise `error` if there is none."""
        if not self._retries.allow(error):
            raise error
        wait = self._retries.wait(error, attempt, chance=self._chance())
        if self._clock() + wait >= deadline:
            raise _not_retried(error, f"the call would time out before the next attempt, in {wait:.1f} s")
        if down_since is not None and self._clock() + wait - down_since > self._retries.longest_outage:
            raise _not_retried(error, f"the gate would be down for more than {self._retries.longest_outage:g} s")
        if not self._budget.withdraw():
            is_off = self._retries.ratio == self._retries.minimum == 0
            used_up = "the retry budget is used up after too many recent failures"
            raise _not_retried(error, "retries are off" if is_off else used_up)
        return wait


def _not_retried(error: GateError, reason: str) -> GateError:
    error.detail = f"{error.detail} (not retried: {reason})"
    return error
