"""Outcomes of a blocking stream: the caller's thread fills and empties the window while other threads send."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future

from lensgate_client._pixels.images import ImageInput
from lensgate_client._protocol.payloads import Payload
from lensgate_client._stream.inputs import DeferredErrorIterable, count_inputs
from lensgate_client._stream.window import InFlightWindow, RequestBatch, WindowLimits
from lensgate_client.models import ImageFailed, Outcome

_Future = Future[list[Outcome]]


class OutcomeStream:
    """Sends payloads as they arrive; used once.

    Args:
        limits: size and number of the requests.
        submit: starts a request on another thread.
        ahead: most complete requests in the window; twice the concurrency if None.
        is_eager: whether a partial request is sent as soon as no other is in flight.
    """

    def __init__(
        self,
        limits: WindowLimits,
        submit: Callable[[Payload], _Future],
        *,
        ahead: int | None,
        is_eager: bool,
    ) -> None:
        self._window = InFlightWindow[_Future](limits, ahead)
        self._submit = submit
        self._is_eager = is_eager

    def run(
        self, images: Iterable[ImageInput], open_input: Callable[[ImageInput], Iterable[Payload | ImageFailed]]
    ) -> Generator[Outcome, None, None]:
        """Yield the outcomes in order; raise an error of `images` after the outcomes of all earlier ones.

        Args:
            images: images and batches.
            open_input: returns the payloads of an image or batch.
        """
        window, payloads = self._window, DeferredErrorIterable(self._payloads(images, open_input))
        try:
            for payload in payloads:
                self._send(window.add(payload))
                if self._is_eager and window.is_idle:
                    self._send(window.flush())
                while window.is_full or window.is_head_ready:
                    yield self._next()
            self._send(window.flush())
            while window:
                yield self._next()
            payloads.raise_error()
        except Exception as error:
            window.add_note(error)
            raise
        finally:
            for future in window.futures:
                future.cancel()

    def _payloads(
        self, images: Iterable[ImageInput], open_input: Callable[[ImageInput], Iterable[Payload | ImageFailed]]
    ) -> Iterator[Payload | ImageFailed]:
        for image in images:
            self._window.taken += count_inputs(image)
            yield from open_input(image)

    def _next(self) -> Outcome:
        if not self._window.is_head_sent:
            self._send(self._window.flush())
        batch = self._window.head
        if batch is not None and not batch.is_settled:
            batch.settle(batch.future.result())
        return self._window.pop()

    def _send(self, batches: Iterable[RequestBatch[_Future]]) -> None:
        for batch in batches:
            batch.mark_sent(self._submit(batch.payload))
