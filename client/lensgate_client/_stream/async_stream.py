"""Fills a window from one end while it is emptied from the other, on an event loop: `Stream` for asyncio."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable
from typing import Any

from lensgate_client._protocol.payloads import Part
from lensgate_client._stream.window import Batch, Window
from lensgate_client.models import ImageFailed, Outcome

_Ticket = asyncio.Task[list[Outcome]]


class Pump:
    """Judges parts as they come; used once.

    Args:
        window: holds the images meanwhile.
        judge: judges one part.
        is_eager: whether a request that is not full is sent as soon as no other is under way.
    """

    def __init__(
        self,
        window: Window[_Ticket],
        judge: Callable[[Part], Coroutine[Any, Any, list[Outcome]]],
        *,
        is_eager: bool,
    ) -> None:
        self._window = window
        self._judge = judge
        self._is_eager = is_eager
        self._more = asyncio.Event()
        self._room = asyncio.Event()

    async def run(self, parts: AsyncIterable[Part | ImageFailed]) -> AsyncGenerator[Outcome, None]:
        """The outcomes in order. What ends `parts` too early is raised after all that came before it."""
        # One task pulls from the caller's iterable from its beginning to its end, as the caller's own code would.
        filling = asyncio.create_task(self._fill(parts))
        filling.add_done_callback(lambda _: self._more.set())
        try:
            while await self._has_next(filling):
                outcome = self._window.pop()
                self._room.set()
                yield outcome
            await filling
        finally:
            tasks = [filling, *self._window.tickets]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fill(self, parts: AsyncIterable[Part | ImageFailed]) -> None:
        async for part in parts:
            self._send(self._window.add(part))
            if self._is_eager and self._window.is_idle:
                self._send(self._window.flush())
            self._more.set()
            while self._window.is_full:
                self._room.clear()
                await self._room.wait()

    async def _has_next(self, filling: "asyncio.Task[None]") -> bool:
        """Return when the first image has its outcome; False where there is none left."""
        while not self._window.is_head_sent:
            if self._window and (self._is_eager or self._window.is_full or filling.done()):
                self._send(self._window.flush())
            elif filling.done():
                return False
            else:
                self._more.clear()
                await self._more.wait()
        batch = self._window.head
        if batch is not None and not batch.is_settled:
            try:
                batch.settle(await batch.sent)
            except Exception as error:
                self._window.explain(error)
                raise
        return True

    def _send(self, batches: Iterable[Batch[_Ticket]]) -> None:
        for batch in batches:
            batch.send(asyncio.create_task(self._judge(batch.work)))
