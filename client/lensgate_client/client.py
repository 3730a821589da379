"""`Gate`: the client for blocking programs, with or without threads."""

import random
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Self

import httpx

from lensgate_client._http.lifetime import OfOneProcess
from lensgate_client._http.sender import Sender
from lensgate_client._pixels.images import Ask, ImageInput, open_image
from lensgate_client._pixels.raster import create_shrink_executor
from lensgate_client._protocol.calls import GateCalls, is_outdated
from lensgate_client._protocol.payloads import Payload, failures, file_payload, payload_builders
from lensgate_client._stream.inputs import (
    ImageInputs,
    RetainedInputs,
    check_images,
    iterate_inputs,
    to_ask,
    to_single_ask,
)
from lensgate_client._stream.stream import OutcomeStream
from lensgate_client.errors import BadImage
from lensgate_client.models import Decision, ImageFailed, Label, Model, Outcome
from lensgate_client.retries import Retries


class Gate(OfOneProcess):
    """Client of a gate. Thread-safe; a forked process must create its own.

    Args:
        url: URL of the gate, such as `http://127.0.0.1:8000`.
        token: access token, if the gate requires one.
        source: the generator, checkpoint or run that makes the images, for the gate's records; the source of an `Ask`
            takes precedence.
        timeout: seconds for a call with all its retries; in a stream, for each request.
        concurrency: requests of `decide_many` and streams in flight at a time, each with one file or a tensor.
        batch_size: most images in one pixel request.
        retries: retry settings.
        transport: a transport instead of httpx's default, such as `httpx.HTTPTransport(verify=...)`.
        clock: monotonic time in seconds.
        sleep: waits for seconds; by default a wait that `close` ends.
        chance: returns a random number in [0, 1).

    Raises:
        ValueError: an argument is invalid.
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
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
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
        self._sender = Sender(url, token, concurrency=self._calls.concurrency, transport=transport, sleep=sleep)
        self._url = url
        self._shrink_executor = create_shrink_executor()

    def decide(
        self,
        image: ImageInput,
        expected: Label | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the name in the gate's API
        timeout: float | None = None,
    ) -> Decision:
        """Return the gate's decision about one image.

        Args:
            image: see `ImageLike`, or an `Ask`; its pixels must not change during the call.
            expected: label that the generator was asked for.
            id: id in the gate's record; generated if None.
            timeout: seconds for this call instead of the default.

        Raises:
            ValueError: the image is a batch, or the label or the id is invalid.
            BadImage: the image cannot be scored; `code` has the reason.
            GateError: the call failed for a reason other than the image.
        """
        ask, deadline = to_single_ask(image, expected, id), self._calls.deadline(timeout)
        outcome = self._decide(ask, deadline)
        if is_outdated(outcome):
            outcome = self._decide(ask, deadline)
        if isinstance(outcome, ImageFailed):
            raise outcome.error
        return outcome

    def decide_many(
        self, images: ImageInputs, expected: Label | None = None, *, timeout: float | None = None
    ) -> list[Outcome]:
        """Return the outcome of each image in order; an invalid image does not affect the others.

        Args:
            images: images and batches; all are held in memory until the end.
            expected: label that the generator was asked for; the label of an `Ask` takes precedence.
            timeout: seconds for each request instead of the default.

        Raises:
            GateError: a request failed for a reason other than an image. `decide_stream` yields the outcomes before
                such a failure.
        """
        check_images(images, expected)
        inputs = RetainedInputs(images)
        outcomes = list(self._stream(inputs, expected, timeout=timeout, is_eager=False))
        outdated = [index for index, outcome in enumerate(outcomes) if is_outdated(outcome)]
        if outdated and inputs.is_intact:
            repeated = self._stream(inputs.select(outdated), expected, timeout=timeout, is_eager=False)
            for index, outcome in zip(outdated, repeated, strict=True):
                outcomes[index] = outcome
        return outcomes

    def decide_stream(
        self,
        images: ImageInputs,
        expected: Label | None = None,
        *,
        ahead: int | None = None,
        timeout: float | None = None,
    ) -> Generator[Outcome, None, None]:
        """Yield the outcome of each image in order while iterating over `images`, which may be endless.

        Each image is read or shrunk before the next is requested, and then released. An error of the gate or of
        `images` is raised after the outcomes of all earlier images.

        Args:
            images: images and batches.
            expected: as in `decide_many`.
            ahead: most complete requests whose outcomes were not taken; twice the concurrency if None.
            timeout: seconds for each request instead of the default.

        Raises:
            GateError: a request failed for a reason other than an image.
        """
        check_images(images, expected)
        return self._stream(iterate_inputs(images), expected, ahead=ahead, timeout=timeout, is_eager=True)

    def model(self, *, timeout: float | None = None) -> Model:
        """Return the model that the gate serves now.

        Raises:
            GateError: the request failed.
        """
        return self._sender.run(self._calls.model(self._calls.deadline(timeout), is_fresh=True))

    def check_ready(self, *, timeout: float | None = None) -> None:
        """Return if the gate takes requests; wait for it at most `Retries.longest_outage`.

        Raises:
            GateUnreachable: it cannot be reached.
            NotReady: it is loading its model, or shutting down.
            GateError: the request failed for another reason.
        """
        self._sender.run(self._calls.ready(self._calls.deadline(timeout)))

    def close(self) -> None:
        """Refuse new requests, wait for those in flight, and close the connections."""
        self._sender.close()
        self._shrink_executor.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Gate({self._url!r})"

    def _decide(self, ask: Ask, deadline: float) -> Outcome:
        (payload,) = self._payloads_of(ask, deadline)
        if isinstance(payload, ImageFailed):
            return payload
        (outcome,) = self._sender.run(self._calls.decide(payload, deadline))
        return outcome

    def _stream(
        self,
        images: Iterable[ImageInput],
        expected: Label | None,
        *,
        is_eager: bool,
        ahead: int | None = None,
        timeout: float | None,
    ) -> Generator[Outcome, None, None]:
        stream = OutcomeStream(self._calls, partial(self._submit, timeout=timeout), ahead=ahead, is_eager=is_eager)
        return stream.run(
            images, lambda image: self._payloads_of(to_ask(image, expected), self._calls.deadline(timeout))
        )

    def _submit(self, payload: Payload, *, timeout: float | None) -> Future[list[Outcome]]:
        return self._sender.submit(partial(self._send, payload, timeout))

    def _send(self, payload: Payload, timeout: float | None) -> list[Outcome]:
        return self._sender.run(self._calls.decide(payload, self._calls.deadline(timeout)))

    def _payloads_of(self, ask: Ask, deadline: float) -> Iterator[Payload | ImageFailed]:
        try:
            opened = open_image(ask.image)
            if isinstance(opened, bytes):
                yield file_payload(opened, ask)
                return
            model = self._sender.run(self._calls.model(deadline))
            for build in payload_builders(
                opened, ask, size=model.size, batch_size=self._calls.batch_size, executor=self._shrink_executor
            ):
                yield build()
        except BadImage as error:
            yield from failures(ask, error)
