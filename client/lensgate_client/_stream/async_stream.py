"""Outcomes of an asynchronous stream: one task fills the window while the caller empties it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

from lensgate_client._pixels.images import ImageInput
from lensgate_client._protocol.payloads import Payload
from lensgate_client._stream.inputs import count_inputs
from lensgate_client._stream.window import InFlightWindow, RequestBatch, WindowLimits
from lensgate_client.models import ImageFailed, Outcome

_Task = asyncio.Task[list[Outcome]]
_Payloads = AsyncIterable[Payload | ImageFailed]

_BLOCKED_SECONDS = 0.5
"""Shorter steps of a blocking source leave a request the turns of the loop that it needs to connect, send and read."""


async def _take(source: AsyncIterator[ImageInput]) -> tuple[ImageInput, bool]:
    """Return the next image, and whether getting it blocked the event loop for long."""
    loop, is_running = asyncio.get_running_loop(), asyncio.Event()
    timer = loop.call_later(_BLOCKED_SECONDS, is_running.set)
    try:
        image = await anext(source)
    finally:
        timer.cancel()
    return image, loop.time() >= timer.when() and not is_running.is_set()


class AsyncOutcomeStream:
    """Sends payloads as they arrive; used once.

    Args:
        limits: size and number of the requests.
        send: sends one request.
        ahead: most complete requests in the window; twice the concurrency if None.
        is_eager: whether a partial request is sent as soon as no other is in flight.
    """

    def __init__(
        self,
        limits: WindowLimits,
        send: Callable[[Payload], Coroutine[Any, Any, list[Outcome]]],
        *,
        ahead: int | None,
        is_eager: bool,
    ) -> None:
        self._window = InFlightWindow[_Task](limits, ahead)
        self._send_payload = send
        self._is_eager = is_eager
        self._progress = asyncio.Event()
        self._room = asyncio.Event()

    async def run(
        self, images: AsyncIterable[ImageInput], open_input: Callable[[ImageInput], _Payloads]
    ) -> AsyncGenerator[Outcome, None]:
        """Yield the outcomes in order; raise an error of `images` after the outcomes of all earlier ones.

        Args:
            images: images and batches.
            open_input: yields the payloads of an image or batch.
        """
        # A single task iterates over the caller's iterable, so that its context stays the same throughout.
        filling = asyncio.create_task(self._fill(images, open_input))
        filling.add_done_callback(lambda _: self._progress.set())
        try:
            while await self._has_next(filling):
                outcome = self._window.pop()
                self._room.set()
                yield outcome
            await filling
        except Exception as error:
            self._window.add_note(error)
            raise
        finally:
            tasks = [filling, *self._window.futures]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fill(self, images: AsyncIterable[ImageInput], open_input: Callable[[ImageInput], _Payloads]) -> None:
        source = aiter(images)
        while True:
            try:
                image, is_blocking = await _take(source)
            except StopAsyncIteration:
                return
            self._window.taken += count_inputs(image)
            async for payload in open_input(image):
                self._send(self._window.add(payload))
                if self._is_eager and self._window.is_idle:
                    self._send(self._window.flush())
                self._progress.set()
                while self._window.is_full:
                    self._room.clear()
                    await self._room.wait()
            if is_blocking:
                await self._settle()

    async def _settle(self) -> None:
        """Wait for the requests in flight, which would time out if the source blocked the loop during them."""
        if pending := [task for task in self._window.futures if not task.done()]:
            await asyncio.wait(pending)

    async def _has_next(self, filling: "asyncio.Task[None]") -> bool:
        """Wait until the first image has its outcome; return False if there are no more images."""
        while not self._window.is_head_sent:
            if self._window and (self._is_eager or self._window.is_full or filling.done()):
                self._send(self._window.flush())
            elif filling.done():
                return False
            else:
                self._progress.clear()
                await self._progress.wait()
        batch = self._window.head
        if batch is not None and not batch.is_settled:
            batch.settle(await batch.future)
        return True

    def _send(self, batches: Iterable[RequestBatch[_Task]]) -> None:
        for batch in batches:
            batch.mark_sent(asyncio.create_task(self._send_payload(batch.payload)))
