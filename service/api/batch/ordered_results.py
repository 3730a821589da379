"""Results in the order in which they were begun, of which only so many are under way."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, Self, TypeVar

_Result = TypeVar("_Result")


class OrderedResults(Generic[_Result], AsyncIterator[_Result]):
    """Between one task that begins and one that iterates.

    At most `size` results are between `room` and the step after the one that they were handed out by.
    """

    def __init__(self, size: int) -> None:
        self._slots = asyncio.Semaphore(size)
        self._begun: deque[asyncio.Future[_Result] | None] = deque()
        self._changed = asyncio.Event()
        self._handed_out = False

    async def room(self) -> None:
        """Wait for room for one result more, and take it."""
        await self._slots.acquire()

    def put(self, result: "asyncio.Future[_Result]") -> None:
        """The next result, for which there is room; it may still be in the making."""
        self._begun.append(result)
        self._changed.set()

    def end(self) -> None:
        """There will be no more."""
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
