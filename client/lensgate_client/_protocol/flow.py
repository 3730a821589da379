"""A call as a generator: it asks for requests to be sent, is given what came back, and returns its result.

Nothing here does I/O, so that the gate's two classes share every rule and differ in how they send and wait.
"""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from lensgate_client._protocol.requests import Reply, Request
from lensgate_client._protocol.responses import read_error
from lensgate_client.errors import DeadlineExceeded, GateError
from lensgate_client.retries import Retries, RetryBudget

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Send:
    """Wait for `delay` seconds, then send this and take no longer than `seconds`."""

    request: Request
    seconds: float
    delay: float = 0.0


Back = Reply | GateError
"""What a `Send` is answered with: the reply, or why there is none."""

Flow = Generator[Send, Back, _Result]


class Exchange:
    """Sends requests until they are answered, not to be repeated, or out of time. Threads share it.

    Args:
        retries: what is repeated.
        clock: seconds that only go forward.
        chance: a number in [0, 1), each time another.
        now: seconds of the epoch.
    """

    def __init__(
        self,
        retries: Retries,
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._retries = retries
        self._clock = clock
        self._chance = chance
        self._now = now
        self._budget = RetryBudget(retries, clock)

    def deadline(self, timeout: float) -> float:
        """When a call that begins now has to end."""
        return self._clock() + timeout

    def run(self, make: Callable[[float], Request], deadline: float) -> Flow[Reply]:
        """The reply with status 200.

        Args:
            make: the request, given the seconds that are left for it.
            deadline: by the clock.

        Raises:
            GateError: there is none; that of the last try.
        """
        self._budget.deposit()
        attempt, delay = 0, 0.0
        while True:
            left = deadline - self._clock() - delay
            if left <= 0:
                raise DeadlineExceeded("the time of the call was over before its request was sent")
            found = self._judge((yield Send(make(left), left, delay)))
            if isinstance(found, Reply):
                return found
            delay = self._wait(found, attempt, deadline)
            attempt += 1

    def _judge(self, back: Back) -> Back:
        """The reply with status 200, or the error."""
        return back if isinstance(back, GateError) else read_error(back, now=self._now()) or back

    def _wait(self, error: GateError, attempt: int, deadline: float) -> float:
        """Seconds until the next try; raises `error` where there is none."""
        if not self._retries.allow(error):
            raise error
        wait = self._retries.wait(error, attempt, chance=self._chance())
        if self._clock() + wait >= deadline:
            raise _given_up(error, f"the time of the call is over before the next try, in {wait:.1f} s")
        if not self._budget.withdraw():
            raise _given_up(error, "the budget for retries is used up, too much failed lately")
        return wait


def _given_up(error: GateError, reason: str) -> GateError:
    error.detail = f"{error.detail} (not tried again: {reason})"
    return error
