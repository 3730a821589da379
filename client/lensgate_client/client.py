"""`Gate`: asks a gate from programs with threads, or with none."""

import random
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import httpx

from lensgate_client._pixels.images import Ask, open_image
from lensgate_client._pixels.shrink import THREADS
from lensgate_client._protocol.core import Core, is_outdated
from lensgate_client._protocol.deadline import Deadline, hold_to
from lensgate_client._protocol.flow import Back, Flow, Send
from lensgate_client._protocol.payloads import Part, failures_of, file_of, jobs_of
from lensgate_client._protocol.transport import (
    AnswerReader,
    Owner,
    client_options,
    closed_error,
    error_of_transport,
    raw_chunks,
    request_options,
)
from lensgate_client._stream.sources import Given, Held, Images, ask_of, ask_of_one, check_images, each_given
from lensgate_client._stream.stream import Stream
from lensgate_client._stream.window import Window
from lensgate_client.errors import BadImage, UnexpectedAnswer
from lensgate_client.models import Decision, ImageFailed, Label, Model, Outcome
from lensgate_client.retries import Retries

_Result = TypeVar("_Result")


class Gate:
    """Asks a gate about images. Threads may share it; a process that is forked makes its own.

    Args:
        url: of the gate, such as `http://127.0.0.1:8000`.
        token: where the gate asks for one.
        timeout: seconds of a call with all its retries; of a stream, seconds of each request.
        concurrency: requests of `decide_many` and streams that are under way at a time, each of one file or of pixels.
        batch_size: most images in one request of pixels.
        retries: what is repeated, and how often.
        transport: httpx's, for another way to the gate, such as `httpx.HTTPTransport(verify=...)`.
        clock: seconds that only go forward.
        sleep: waits for seconds; the default is a wait that `close` ends.
        chance: a number in [0, 1), each time another.

    Raises:
        ValueError: an argument makes no sense.
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
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
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
        self._http = httpx.Client(**client_options(url, token), transport=transport)
        self._deadline = Deadline()
        hold_to(self._deadline, self._http)
        self._url = url
        self._owner = Owner()
        self._closing = threading.Event()
        self._sleep = sleep or self._closing.wait
        # Neither starts a thread before there is work for it.
        self._senders = ThreadPoolExecutor(concurrency, "lensgate-send")
        self._shrinkers = ThreadPoolExecutor(THREADS, "lensgate-shrink")

    def decide(
        self,
        image: Given,
        expected: Label | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the wire's own word
        timeout: float | None = None,
    ) -> Decision:
        """The gate's decision about one image.

        Args:
            image: see `ImageLike`, or an `Ask`; pixels must not be written to meanwhile.
            expected: what the generator was asked for.
            id: under which the gate records it; made up if missing.
            timeout: seconds, instead of the usual ones.

        Raises:
            ValueError: it is a batch, or the label or the id is none.
            BadImage: the image cannot be judged; its `code` says why.
            GateError: there is no decision, whatever the image.
        """
        ask, deadline = ask_of_one(image, expected, id), self._core.deadline(timeout)
        outcome = self._decide(ask, deadline)
        if is_outdated(outcome):
            outcome = self._decide(ask, deadline)
        if isinstance(outcome, ImageFailed):
            raise outcome.error
        return outcome

    def decide_many(
        self, images: Images, expected: Label | None = None, *, timeout: float | None = None
    ) -> list[Outcome]:
        """What becomes of each image, in order; one that is at fault harms no other.

        Args:
            images: any number, batches too, each of which stands for its images. All are held until the end.
            expected: what the generator was asked for; what an `Ask` says itself goes first.
            timeout: seconds of each request, instead of the usual ones.

        Raises:
            GateError: the gate cannot be asked any further, whatever the image. `decide_stream` would have handed out
                what was answered before.
        """
        check_images(images, expected)
        held = Held(images)
        outcomes = list(self._stream(held, expected, timeout=timeout, is_eager=False))
        outdated = [index for index, outcome in enumerate(outcomes) if is_outdated(outcome)]
        if outdated and held.is_intact:
            again = self._stream(held.pick(outdated), expected, timeout=timeout, is_eager=False)
            for index, outcome in zip(outdated, again, strict=True):
                outcomes[index] = outcome
        return outcomes

    def decide_stream(
        self,
        images: Images,
        expected: Label | None = None,
        *,
        ahead: int | None = None,
        timeout: float | None = None,
    ) -> Generator[Outcome, None, None]:
        """What becomes of each image of an iterable, which may have no end, in order, while it is pulled from.

        An image is read, or shrunk, before the next is asked for, and not held any longer. What ends the stream, an
        error of the gate or of `images` itself, is raised after the outcomes of all that came before it.

        Args:
            images: images and batches.
            expected: as of `decide_many`.
            ahead: requests between being complete and being handed out, at most; twice the concurrency if missing.
            timeout: seconds of each request, instead of the usual ones.

        Raises:
            GateError: the gate cannot be asked any further, whatever the image.
        """
        check_images(images, expected)
        return self._stream(each_given(images), expected, ahead=ahead, timeout=timeout, is_eager=True)

    def model(self, *, timeout: float | None = None) -> Model:
        """The model that the gate serves now.

        Raises:
            GateError: it does not say.
        """
        return self._run(self._core.model(self._core.deadline(timeout), is_fresh=True))

    def close(self) -> None:
        """Begin nothing more, wait for what is under way, and close the connections."""
        self._closing.set()
        # What was not begun is not cancelled: it finds the gate closed, and says so to who waits for it.
        self._senders.shutdown()
        self._shrinkers.shutdown()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Gate({self._url!r})"

    def _decide(self, ask: Ask, deadline: float) -> Outcome:
        (part,) = self._parts_of(ask, deadline)
        if isinstance(part, ImageFailed):
            return part
        (outcome,) = self._run(self._core.judge(part, deadline))
        return outcome

    def _stream(
        self,
        images: Iterable[Given],
        expected: Label | None,
        *,
        is_eager: bool,
        ahead: int | None = None,
        timeout: float | None,
    ) -> Generator[Outcome, None, None]:
        stream = Stream(Window(self._core, ahead), partial(self._submit, timeout=timeout), is_eager=is_eager)
        return stream.run(self._parts(images, expected, timeout))

    def _submit(self, part: Part, *, timeout: float | None) -> Future[list[Outcome]]:
        self._owner.check()
        try:
            return self._senders.submit(self._judge, part, timeout)
        except RuntimeError:
            if not self._closing.is_set():
                raise
            # Not raised here: what was asked before may have been answered.
            ticket = Future[list[Outcome]]()
            ticket.set_exception(closed_error())
            return ticket

    def _judge(self, part: Part, timeout: float | None) -> list[Outcome]:
        return self._run(self._core.judge(part, self._core.deadline(timeout)))

    def _parts(
        self, images: Iterable[Given], expected: Label | None, timeout: float | None
    ) -> Iterator[Part | ImageFailed]:
        for given in images:
            yield from self._parts_of(ask_of(given, expected), self._core.deadline(timeout))

    def _parts_of(self, ask: Ask, deadline: float) -> Iterator[Part | ImageFailed]:
        try:
            opened = open_image(ask.image)
            if isinstance(opened, bytes):
                yield file_of(opened, ask)
                return
            model = self._run(self._core.model(deadline))
            for job in jobs_of(opened, ask, size=model.size, most=self._core.batch_size, threads=self._shrinkers):
                yield job()
        except BadImage as error:
            yield from failures_of(ask, error)

    def _run(self, flow: Flow[_Result]) -> _Result:
        self._check_open()
        try:
            send = next(flow)
            while True:
                send = flow.send(self._perform(send))
        except StopIteration as end:
            result: _Result = end.value
            return result

    def _perform(self, send: Send) -> Back:
        self._owner.check()
        if send.delay:
            self._sleep(send.delay)
        self._check_open()
        try:
            with self._deadline.within(send.seconds):
                return self._receive(send)
        except UnexpectedAnswer as error:
            return error
        except httpx.RequestError as error:
            return error_of_transport(error)

    def _receive(self, send: Send) -> Back:
        with self._http.stream(**request_options(send)) as response:
            reader = AnswerReader(response, send.request.most_bytes)
            for chunk in raw_chunks(response):
                if not reader.add(chunk):
                    break
            return reader.reply()

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise closed_error()
