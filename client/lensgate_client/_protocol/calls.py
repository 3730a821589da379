"""The calls of a gate object, without I/O: which requests they send and how they handle the responses."""

import math
from collections.abc import Callable
from functools import partial

from lensgate_client._pixels.arguments import is_between, is_whole
from lensgate_client._pixels.images import checked_source
from lensgate_client._protocol.payloads import FilePayload, Payload, PixelPayload
from lensgate_client._protocol.requests import (
    GateResponse,
    file_request,
    model_request,
    pixels_request,
    ready_request,
)
from lensgate_client._protocol.responses import read_decision, read_decisions, read_model
from lensgate_client._protocol.retry_loop import Call, RetryLoop
from lensgate_client.errors import BadImage, RequestRefused, ServiceFault, quoted
from lensgate_client.models import ImageFailed, Model, Outcome
from lensgate_client.retries import Retries

_OUTDATED = "model_changed"
_TOO_LARGE = "body_too_large"
_INTERNAL_ERROR = 500
_MODEL_MISMATCH = (400, 404)
"""Statuses of a gate whose model has another input size or another name."""
_MODEL_ATTEMPTS = 3
_MAX_SECONDS = 2_147_483
"""The milliseconds must fit into 32 bits: of longer timeouts, sockets use the remainder."""


class GateCalls:
    """Creates the calls of a gate object and caches the served model. Thread-safe.

    Args:
        retries: the retry settings; the defaults if None.
        timeout: default timeout of a call in seconds.
        concurrency: requests in flight at a time.
        batch_size: most images in one pixel request; reduced if the gate rejects it as too large.
        clock: monotonic time in seconds.
        source: the source of images without their own.
        chance: returns a random number in [0, 1).

    Raises:
        ValueError: an argument is invalid.
    """

    def __init__(
        self,
        retries: Retries | None,
        *,
        timeout: float,
        concurrency: int,
        batch_size: int,
        source: str | None,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        if not is_between(timeout, 0, _MAX_SECONDS):
            raise ValueError(
                f"timeout must be a number > 0 and at most {_MAX_SECONDS:,} seconds, not {quoted(timeout)}"
            )
        for name, value in (("concurrency", concurrency), ("batch_size", batch_size)):
            if not is_whole(value):
                raise ValueError(f"{name} must be an integer >= 1, not {quoted(value)}")
        retries = Retries() if retries is None else retries
        if not isinstance(retries, Retries):  # 0 must not mean the defaults.
            raise ValueError(
                f"retries must be Retries or None, not {quoted(retries)}: Retries(ratio=0, minimum=0) repeats none"
            )
        self.concurrency = int(concurrency)
        self.batch_size = int(batch_size)
        self._timeout = float(timeout)
        self._source = checked_source(source)
        self._retry_loop = RetryLoop(retries, clock=clock, chance=chance)
        self._model: Model | None = None

    def deadline(self, timeout: float | None) -> float:
        """Return the deadline of a call that starts now; `timeout` replaces the default unless None.

        Raises:
            ValueError: the timeout is longer than sockets accept, or not a number.
        """
        seconds = self._timeout if timeout is None else timeout
        if not is_between(seconds, -math.inf, _MAX_SECONDS):
            raise ValueError(f"timeout must be a number, at most {_MAX_SECONDS:,} seconds, not {quoted(seconds)}")
        return self._retry_loop.deadline(float(seconds))

    def seconds_left(self, deadline: float) -> float:
        """Return the time to a deadline."""
        return self._retry_loop.seconds_left(deadline)

    def model(self, deadline: float, *, is_fresh: bool = False) -> Call[Model]:
        """Return the served model, from the cache unless `is_fresh` or a response came from another version."""
        model = self._model
        if model is None or is_fresh:
            self._model = model = read_model((yield from self._retry_loop.run(model_request, deadline)))
        return model

    def ready(self, deadline: float) -> Call[None]:
        """Return once the gate takes requests.

        Raises:
            GateError: it cannot be reached, or is not ready.
        """
        yield from self._retry_loop.run(ready_request, deadline)

    def decide(self, payload: Payload, deadline: float) -> Call[list[Outcome]]:
        """Return the outcomes of the images in order.

        Raises:
            GateError: the request failed for a reason other than its images.
        """
        try:
            if isinstance(payload, FilePayload):
                return (yield from self._decide_file(payload, deadline))
            return (yield from self._decide_pixels(payload, deadline))
        except BadImage as error:
            if error.code == _TOO_LARGE and isinstance(payload, PixelPayload) and len(payload.pixels) > 1:
                return (yield from self._decide_halves(payload, deadline))
            return [ImageFailed(image_id, error) for image_id in payload.image_ids]
        except ServiceFault as error:
            # Other 5xx statuses do not depend on these images.
            if error.status != _INTERNAL_ERROR:
                raise
            return [ImageFailed(image_id, error) for image_id in payload.image_ids]

    def _decide_file(self, file: FilePayload, deadline: float) -> Call[list[Outcome]]:
        source = file.source or self._source
        build_request = partial(file_request, file.data, image_id=file.id, expected=file.expected, source=source)
        response = yield from self._retry_loop.run(build_request, deadline)
        return [read_decision(response, image_id=file.id, expected=file.expected)]

    def _decide_halves(self, payload: PixelPayload, deadline: float) -> Call[list[Outcome]]:
        """Send the images in two requests and reduce the batch size for later requests."""
        half = len(payload.pixels) // 2
        self.batch_size = min(self.batch_size, half)
        first = yield from self.decide(payload.slice(0, half), deadline)
        return first + (yield from self.decide(payload.slice(half, len(payload.pixels)), deadline))

    def _decide_pixels(self, payload: PixelPayload, deadline: float) -> Call[list[Outcome]]:
        requested, response = yield from self._send_pixels(payload, deadline)
        decisions = read_decisions(
            response,
            model=requested.name,
            batch_id=payload.id,
            image_ids=payload.image_ids,
            expected=payload.expected,
        )
        model = self._model
        if model is not None and decisions[0].model_version != model.version:
            self._model = None  # The new version may have another input size.
        return list(decisions)

    def _send_pixels(self, payload: PixelPayload, deadline: float) -> Call[tuple[Model, GateResponse]]:
        """Return the requested model and the response.

        The input size may change at any time, and replicas do not change at the same moment.
        """
        model = yield from self.model(deadline)
        for _ in range(_MODEL_ATTEMPTS):
            build_request = partial(
                pixels_request,
                model.name,
                payload.pixels,
                batch_id=payload.id,
                expected=payload.expected,
                source=payload.source or self._source,
            )
            try:
                return model, (yield from self._retry_loop.run(build_request, deadline))
            except RequestRefused as error:
                if error.status not in _MODEL_MISMATCH:
                    raise
                refused = error
            model = yield from self.model(deadline, is_fresh=True)
            if payload.pixels.shape[1] % model.size:
                raise BadImage(
                    "the image was shrunk for the previous model; the served model takes "
                    f"{model.size} x {model.size} pixels: send the image again",
                    code=_OUTDATED,
                )
        raise refused


def is_outdated(outcome: Outcome) -> bool:
    """Return whether the image was shrunk for a model that is no longer served and must be shrunk again."""
    return isinstance(outcome, ImageFailed) and outcome.code == _OUTDATED
