"""Deliver results in the order of their start, with a bound on the number in progress."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, Self, TypeVar

_Result = TypeVar("_Result")


class OrderedResults(Generic[_Result], AsyncIterator[_Result]):
    """A queue between one task that starts work and one that iterates over results.

    At most `size` results are in progress: from `reserve` to the iteration step after their delivery.
    """

    def __init__(self, size: int) -> None:
        self._slots = asyncio.Semaphore(size)
        self._begun: deque[asyncio.Future[_Result] | None] = deque()
        self._changed = asyncio.Event()
        self._handed_out = False

    async def reserve(self) -> None:
        """Wait for room for one more result, and reserve it."""
        await self._slots.acquire()

    def put(self, result: "asyncio.Future[_Result]") -> None:
        """Add the next result, pending or complete, for which room is reserved."""
        self._begun.append(result)
        self._changed.set()

    def end(self) -> None:
        """End the iteration after the results so far."""
        self._begun.append(None)
        self._changed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _Result:
        if self._handed_out:
            self._slots.release()
        self._handed_out = False
        while not self._begun:
            self._changed.clear()
            await self._changed.wait()
        if (first := self._begun.popleft()) is None:
            raise StopAsyncIteration
        result = await first
        self._handed_out = True
        return result
