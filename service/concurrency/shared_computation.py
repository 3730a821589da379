"""Long computations beside the requests: one at a time, in a thread, shared by those who wait for the same one."""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from service.concurrency.daemon_threads import start_daemon
from service.errors import Overloaded

MAX_WAITING = 16
"""Largest number of different computations that wait for their turn."""

_RETRY_SECONDS = 5

_Result = TypeVar("_Result")


class SharedComputation(Generic[_Result]):
    """Computes one result at a time. Threads that compute together would take turns with the event loop's thread.

    A caller joins a computation of the same key that has not begun yet, so its result includes all that was stored
    before the call. Few may wait: the next one is refused.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting: dict[Hashable, asyncio.Task[_Result]] = {}

    async def get(self, key: Hashable, compute: Callable[[], _Result]) -> _Result:
        """Return the result of `compute`, called in a thread by this caller or by another one with the same key.

        Raises:
            Overloaded: too many computations wait.
        """
        task = self._waiting.get(key)
        if task is None and len(self._waiting) >= MAX_WAITING:
            raise Overloaded(
                f"{MAX_WAITING} computations wait: try again in {_RETRY_SECONDS} s",
                reason=None,
                retry_after=_RETRY_SECONDS,
            )
        if task is None:
            task = self._waiting[key] = asyncio.create_task(self._compute(key, compute))
            # An exception is delivered to those who wait; without any of them it is not reported.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # A caller that is cancelled leaves the computation to the others.
        return await asyncio.shield(task)

    async def _compute(self, key: Hashable, compute: Callable[[], _Result]) -> _Result:
        try:
            await self._turn.acquire()
        finally:
            del self._waiting[key]
        try:
            return await asyncio.wrap_future(start_daemon(compute, name="compute"))
        finally:
            self._turn.release()
