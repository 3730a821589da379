"""Bound the memory of messages that are arriving.

gRPC does not say how large a message is before it has arrived, so each one that is being read counts as the largest.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ReadSlots:
    """At most `limit` messages arrive at a time, and at most a share of them from one caller; others wait their turn.

    Used only from the event loop.

    Args:
        limit: number of messages.
        share: largest share of them for one caller.
    """

    def __init__(self, limit: int, share: float) -> None:
        self._limit = limit
        self._caller_limit = max(1, int(limit * share))
        self._held: Counter[str] = Counter()
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, caller: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it while the block lasts."""
        if self._is_free(caller) and not self._is_waiting(caller):
            self._held[caller] += 1
        else:
            await self._wait_turn(caller)
        try:
            yield
        finally:
            self._give_back(caller)

    async def _wait_turn(self, caller: str) -> None:
        """Wait until a slot has been handed over."""
        mine = (caller, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        try:
            await mine[1]
        except asyncio.CancelledError:
            if mine in self._waiting:
                self._waiting.remove(mine)
            else:  # Handed over at the same time.
                self._give_back(caller)
            raise

    def _give_back(self, caller: str) -> None:
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        for waiting in tuple(self._waiting):
            # A cancelled one removes itself.
            if self._is_free(waiting[0]) and not waiting[1].done():
                self._waiting.remove(waiting)
                self._held[waiting[0]] += 1
                waiting[1].set_result(None)

    def _is_free(self, caller: str) -> bool:
        return self._held.total() < self._limit and self._held[caller] < self._caller_limit

    def _is_waiting(self, caller: str) -> bool:
        return any(name == caller for name, _ in self._waiting)
