"""`AsyncGate`: asks a gate from programs that run on asyncio."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import httpx

from lensgate_client._pixels.images import Ask, ImageLike, open_image
from lensgate_client._pixels.raster import Raster, is_tensor
from lensgate_client._pixels.shrink import THREADS
from lensgate_client._protocol.core import Core, is_outdated
from lensgate_client._protocol.flow import Back, Flow, Send
from lensgate_client._protocol.payloads import Part, failures_of, file_of, jobs_of
from lensgate_client._protocol.transport import (
    AnswerReader,
    Owner,
    araw_chunks,
    client_options,
    closed_error,
    error_of_transport,
    request_options,
)
from lensgate_client._stream.async_stream import Pump
from lensgate_client._stream.sources import Given, Held, Images, aiterate, ask_of, ask_of_one, check_images
from lensgate_client._stream.window import Window
from lensgate_client.errors import BadImage, DeadlineExceeded, UnexpectedAnswer
from lensgate_client.models import Decision, ImageFailed, Label, Model, Outcome
from lensgate_client.retries import Retries

_Result = TypeVar("_Result")


class AsyncGate:
    """`Gate` for asyncio: the same names, arguments and promises.

    What is on a GPU is shrunk on the event loop's thread, since that thread's stream is what the images were made on;
    arrays and files in the processor's memory on others.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        concurrency: int = 4,
        batch_size: int = 32,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._core = Core(
            retries or Retries(),
            timeout=timeout,
            concurrency=concurrency,
            batch_size=batch_size,
            clock=clock,
            chance=chance,
        )
        self._http = httpx.AsyncClient(**client_options(url, token), transport=transport)
        self._url = url
        self._owner = Owner()
        self._is_closed = False
        self._sleep = sleep
        self._places = asyncio.Semaphore(concurrency)
        self._shrinkers = ThreadPoolExecutor(THREADS, "lensgate-shrink")

    async def decide(
        self,
        image: Given,
        expected: Label | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the wire's own word
        timeout: float | None = None,
    ) -> Decision:
        """As `Gate.decide`."""
        ask, deadline = ask_of_one(image, expected, id), self._core.deadline(timeout)
        outcome = await self._decide(ask, deadline)
        if is_outdated(outcome):
            outcome = await self._decide(ask, deadline)
        if isinstance(outcome, ImageFailed):
            raise outcome.error
        return outcome

    async def decide_many(
        self, images: Images, expected: Label | None = None, *, timeout: float | None = None
    ) -> list[Outcome]:
        """As `Gate.decide_many`."""
        check_images(images, expected)
        held = Held(images)
        outcomes = await self._decide_held(held, expected, timeout)
        outdated = [index for index, outcome in enumerate(outcomes) if is_outdated(outcome)]
        if outdated and held.is_intact:
            again = await self._decide_held(held.pick(outdated), expected, timeout)
            for index, outcome in zip(outdated, again, strict=True):
                outcomes[index] = outcome
        return outcomes

    def decide_stream(
        self,
        images: Images | AsyncIterable[Given],
        expected: Label | None = None,
        *,
        ahead: int | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """As `Gate.decide_stream`; `images` may be asynchronous, and outcomes then come while it is waited for.

        Who leaves it early closes it with `contextlib.aclosing`.
        """
        check_images(images, expected)
        return self._stream(images, expected, ahead=ahead, timeout=timeout, is_eager=True)

    async def model(self, *, timeout: float | None = None) -> Model:
        """As `Gate.model`."""
        return await self._run(self._core.model(self._core.deadline(timeout), is_fresh=True))

    async def close(self) -> None:
        """Close the connections; what is under way fails."""
        self._is_closed = True
        self._shrinkers.shutdown(wait=False)
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncGate({self._url!r})"

    async def _decide(self, ask: Ask, deadline: float) -> Outcome:
        (part,) = [part async for part in self._parts_of(ask, deadline)]
        if isinstance(part, ImageFailed):
            return part
        (outcome,) = await self._run(self._core.judge(part, deadline))
        return outcome

    async def _decide_held(self, held: Iterable[Given], expected: Label | None, timeout: float | None) -> list[Outcome]:
        async with aclosing(self._stream(held, expected, timeout=timeout, is_eager=False)) as outcomes:
            return [outcome async for outcome in outcomes]

    def _stream(
        self,
        images: Images | AsyncIterable[Given],
        expected: Label | None,
        *,
        is_eager: bool,
        ahead: int | None = None,
        timeout: float | None,
    ) -> AsyncGenerator[Outcome, None]:
        pump = Pump(Window(self._core, ahead), partial(self._judge, timeout=timeout), is_eager=is_eager)
        return pump.run(self._parts(images, expected, timeout))

    async def _judge(self, part: Part, *, timeout: float | None) -> list[Outcome]:
        async with self._places:
            return await self._run(self._core.judge(part, self._core.deadline(timeout)))

    async def _parts(
        self, images: Images | AsyncIterable[Given], expected: Label | None, timeout: float | None
    ) -> AsyncIterator[Part | ImageFailed]:
        async for given in aiterate(images):
            async for part in self._parts_of(ask_of(given, expected), self._core.deadline(timeout)):
                yield part

    async def _parts_of(self, ask: Ask, deadline: float) -> AsyncIterator[Part | ImageFailed]:
        try:
            opened = await _open(ask.image)
            if isinstance(opened, bytes):
                yield file_of(opened, ask)
                return
            model = await self._run(self._core.model(deadline))
            for job in jobs_of(opened, ask, size=model.size, most=self._core.batch_size, threads=self._shrinkers):
                yield await asyncio.to_thread(job) if opened.is_on_host else job()
        except BadImage as error:
            for failure in failures_of(ask, error):
                yield failure

    async def _run(self, flow: Flow[_Result]) -> _Result:
        self._check_open()
        try:
            send = next(flow)
            while True:
                send = flow.send(await self._perform(send))
        except StopIteration as end:
            result: _Result = end.value
            return result

    async def _perform(self, send: Send) -> Back:
        self._owner.check()
        if send.delay:
            await self._sleep(send.delay)
        self._check_open()
        try:
            async with asyncio.timeout(send.seconds):
                return await self._receive(send)
        except UnexpectedAnswer as error:
            return error
        except TimeoutError:
            return DeadlineExceeded("the gate did not answer in time")
        except httpx.RequestError as error:
            return error_of_transport(error)

    async def _receive(self, send: Send) -> Back:
        async with self._http.stream(**request_options(send)) as response:
            reader = AnswerReader(response, send.request.most_bytes)
            async for chunk in araw_chunks(response):
                if not reader.add(chunk):
                    break
            return reader.reply()

    def _check_open(self) -> None:
        if self._is_closed:
            raise closed_error()


async def _open(image: ImageLike) -> bytes | Raster:
    """Files are read, and Pillow's pictures decoded, where that holds up nobody."""
    return open_image(image) if is_tensor(image) else await asyncio.to_thread(open_image, image)
