"""`AsyncGate`: the client for asyncio programs."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self

import httpx

from lensgate_client._http.async_sender import AsyncSender
from lensgate_client._http.lifetime import OfOneProcess
from lensgate_client._pixels.images import Ask, ImageInput, ImageLike, open_image
from lensgate_client._pixels.raster import Raster, create_shrink_executor, is_tensor
from lensgate_client._protocol.calls import GateCalls, is_outdated
from lensgate_client._protocol.payloads import Payload, failures, file_payload, payload_builders
from lensgate_client._stream.async_stream import AsyncOutcomeStream
from lensgate_client._stream.inputs import (
    ImageInputs,
    RetainedInputs,
    aiterate_inputs,
    check_images,
    to_ask,
    to_single_ask,
)
from lensgate_client.errors import BadImage, DeadlineExceeded
from lensgate_client.models import Decision, ImageFailed, Label, Model, Outcome
from lensgate_client.retries import Retries

_MAX_DECIDES = 64
"""Calls of `decide` in progress at a time: each takes a connection, of which a process and a gate have few."""


class AsyncGate(OfOneProcess):
    """`Gate` for asyncio, with the same names, arguments and guarantees.

    Any number of tasks may call `decide`; 64 calls are in progress at a time, and the others wait.

    Tensors on a GPU are shrunk on the event loop's thread, because the stream that created them is current there;
    arrays and files in host memory are processed on other threads.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        source: str | None = None,
        timeout: float = 30.0,
        concurrency: int = 4,
        batch_size: int = 32,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._calls = GateCalls(
            retries,
            timeout=timeout,
            concurrency=concurrency,
            batch_size=batch_size,
            source=source,
            clock=clock,
            chance=chance,
        )
        self._sender = AsyncSender(url, token, transport=transport, sleep=sleep)
        self._url = url
        self._in_flight = asyncio.Semaphore(self._calls.concurrency)
        self._decides = asyncio.Semaphore(_MAX_DECIDES)
        self._shrink_executor = create_shrink_executor()

    async def decide(
        self,
        image: ImageInput,
        expected: Label | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the name in the gate's API
        timeout: float | None = None,
    ) -> Decision:
        """Return a decision as `Gate.decide` does."""
        ask, deadline = to_single_ask(image, expected, id), self._calls.deadline(timeout)
        async with self._turn(deadline):
            outcome = await self._decide(ask, deadline)
            if is_outdated(outcome):
                outcome = await self._decide(ask, deadline)
        if isinstance(outcome, ImageFailed):
            raise outcome.error
        return outcome

    async def decide_many(
        self, images: ImageInputs, expected: Label | None = None, *, timeout: float | None = None
    ) -> list[Outcome]:
        """Return outcomes as `Gate.decide_many` does."""
        check_images(images, expected)
        inputs = RetainedInputs(images)
        outcomes = await self._decide_all(inputs, expected, timeout)
        outdated = [index for index, outcome in enumerate(outcomes) if is_outdated(outcome)]
        if outdated and inputs.is_intact:
            repeated = await self._decide_all(inputs.select(outdated), expected, timeout)
            for index, outcome in zip(outdated, repeated, strict=True):
                outcomes[index] = outcome
        return outcomes

    def decide_stream(
        self,
        images: ImageInputs | AsyncIterable[ImageInput],
        expected: Label | None = None,
        *,
        ahead: int | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """Yield outcomes as `Gate.decide_stream` does, also while an asynchronous `images` waits.

        Use `contextlib.aclosing` to leave the loop early.
        """
        check_images(images, expected)
        return self._stream(images, expected, ahead=ahead, timeout=timeout, is_eager=True)

    async def model(self, *, timeout: float | None = None) -> Model:
        """Return the served model as `Gate.model` does."""
        return await self._sender.run(self._calls.model(self._calls.deadline(timeout), is_fresh=True))

    async def check_ready(self, *, timeout: float | None = None) -> None:
        """Return if the gate takes requests, as `Gate.check_ready` does."""
        await self._sender.run(self._calls.ready(self._calls.deadline(timeout)))

    async def close(self) -> None:
        """Close the connections; requests in flight fail."""
        self._shrink_executor.shutdown(wait=False)
        await self._sender.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncGate({self._url!r})"

    @asynccontextmanager
    async def _turn(self, deadline: float) -> AsyncIterator[None]:
        """Wait until the call may begin, at most until its deadline."""
        try:
            async with asyncio.timeout(self._calls.seconds_left(deadline)):
                await self._decides.acquire()
        except TimeoutError:
            raise DeadlineExceeded(
                f"the call timed out while it waited for {_MAX_DECIDES} others: decide_many and decide_stream send any "
                "number of images, with a timeout for each request"
            ) from None
        try:
            yield
        finally:
            self._decides.release()

    async def _decide(self, ask: Ask, deadline: float) -> Outcome:
        (payload,) = [payload async for payload in self._payloads_of(ask, deadline)]
        if isinstance(payload, ImageFailed):
            return payload
        (outcome,) = await self._sender.run(self._calls.decide(payload, deadline))
        return outcome

    async def _decide_all(
        self, images: Iterable[ImageInput], expected: Label | None, timeout: float | None
    ) -> list[Outcome]:
        async with aclosing(self._stream(images, expected, timeout=timeout, is_eager=False)) as outcomes:
            return [outcome async for outcome in outcomes]

    def _stream(
        self,
        images: ImageInputs | AsyncIterable[ImageInput],
        expected: Label | None,
        *,
        is_eager: bool,
        ahead: int | None = None,
        timeout: float | None,
    ) -> AsyncGenerator[Outcome, None]:
        stream = AsyncOutcomeStream(self._calls, partial(self._send, timeout=timeout), ahead=ahead, is_eager=is_eager)
        return stream.run(
            aiterate_inputs(images),
            lambda image: self._payloads_of(to_ask(image, expected), self._calls.deadline(timeout)),
        )

    async def _send(self, payload: Payload, *, timeout: float | None) -> list[Outcome]:
        async with self._in_flight:
            return await self._sender.run(self._calls.decide(payload, self._calls.deadline(timeout)))

    async def _payloads_of(self, ask: Ask, deadline: float) -> AsyncIterator[Payload | ImageFailed]:
        try:
            opened = await _open(ask.image)
            if isinstance(opened, bytes):
                yield file_payload(opened, ask)
                return
            model = await self._sender.run(self._calls.model(deadline))
            for build in payload_builders(
                opened, ask, size=model.size, batch_size=self._calls.batch_size, executor=self._shrink_executor
            ):
                yield await asyncio.to_thread(build) if opened.is_on_host else build()
        except BadImage as error:
            for failure in failures(ask, error):
                yield failure


async def _open(image: ImageLike) -> bytes | Raster:
    """Open an image; read files and decode Pillow images on another thread."""
    return open_image(image) if is_tensor(image) else await asyncio.to_thread(open_image, image)
