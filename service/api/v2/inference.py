"""Decide about the images of a parsed request, for every transport of the protocol."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gate import Action
from service.api.v2.metadata import served_model
from service.api.v2.request import InferenceRequest, SharedMemoryRange
from service.api.v2.served_model import ServedModel
from service.api.v2.shared_memory import SharedMemoryRegions, check_apart
from service.api.v2.statistics import Statistics
from service.concurrency.futures import gather_or_cancel
from service.errors import InvalidImage
from service.inference.decode_pool import Decoded
from service.inference.payload import Payload
from service.inference.preprocess import ModelInputs
from service.inference.request_context import ImageDecision, ImageRequest, RequestContext
from service.runtime import Runtime


class Inference:
    """Admits, decides and counts. One object serves HTTP and gRPC, with the same shared memory and statistics.

    Args:
        runtime: decides about the images.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.regions = SharedMemoryRegions(enabled=runtime.settings.shared_memory)
        self.statistics = Statistics()

    @property
    def model(self) -> ServedModel:
        """The model that is served now."""
        return served_model(self.runtime.runner.card, self.runtime.settings)

    def model_of(self, context: RequestContext) -> ServedModel:
        """Return the model that a request began with."""
        return served_model(context.runner.card, self.runtime.settings)

    def read_shared(self, context: RequestContext, part: SharedMemoryRange) -> bytes:
        """Read shared memory, counted in the request's permit.

        Raises:
            ServiceError: the range cannot be read, or its bytes exceed a limit.
        """
        self.regions.check(part)
        context.permit.reserve(part.size)
        return self.regions.read(part)

    def make_room(self, context: RequestContext, request: InferenceRequest) -> None:
        """Admit what only the parsed request tells: timeout, number of images, shared memory of outputs.

        Raises:
            ServiceError: it cannot be answered in time, or a limit is reached.
        """
        if request.timeout is not None:
            self.runtime.admission.check_wait(context.shorten(request.timeout))
        for wanted in request.outputs:
            if wanted.shared:
                self.regions.check(wanted.shared)
        context.permit.take_images(request.count - 1)

    async def decide(self, context: RequestContext, request: InferenceRequest) -> list[ImageDecision]:
        """Decide about all images of a request.

        Raises:
            InvalidImage: an image cannot be judged; the text names its index.
            DeadlineExceeded: the deadline passed before they were scored.
        """
        pipeline, images = self.runtime.pipeline, _name_images(request)
        if (pixels := request.take_pixels()) is not None:
            return await pipeline.decide_pixels(context, pixels, images)
        decoded = await gather_or_cancel(
            self._decode(context, index, file) for index, file in enumerate(request.take_files())
        )
        return await pipeline.decide_decoded(context, decoded, images)

    async def _decode(self, context: RequestContext, index: int, file: Payload[memoryview]) -> Decoded[ModelInputs]:
        try:
            return await self.runtime.pipeline.decode(context, file)
        except InvalidImage as error:
            raise InvalidImage(f"encoded_image[{index}]: {error.detail}", code=error.code) from error

    def write_shared(self, parts: Sequence[tuple[SharedMemoryRange, bytes]]) -> None:
        """Write outputs to shared memory.

        Raises:
            MalformedRequest: a range cannot be written, or two outputs overlap.
        """
        check_apart(parts)
        for part, data in parts:
            self.regions.write(part, data)

    @contextmanager
    def count_failure(self) -> Iterator[None]:
        """Count a request that the block does not finish."""
        started = time.monotonic()
        version = self.runtime.runner.card.version
        try:
            yield
        except BaseException:
            self.statistics.fail(version, seconds=time.monotonic() - started)
            raise

    def count_success(self, context: RequestContext, encoding: float) -> None:
        """Count a request that ends now; `encoding` is the time at which its response was begun."""
        ended = time.monotonic()
        version = context.runner.card.version
        self.statistics.succeed(version, context.stages, seconds=ended - context.started, encoding=ended - encoding)


def log_fields(request: InferenceRequest, answers: Sequence[ImageDecision]) -> dict[str, str | int]:
    """Return the fields of an answered request's log line."""
    accepted = sum(answer.decision.action is Action.ACCEPT for answer in answers)
    fields: dict[str, str | int] = {"accept": accepted, "discard": len(answers) - accepted}
    if request.identity:
        fields["id"] = request.identity
    return fields


def _name_images(request: InferenceRequest) -> list[ImageRequest]:
    """Return the recorded name of each image: the request's id, with an index if there are several."""
    if not request.identity:
        return [ImageRequest(expected=expected, source=request.source) for expected in request.expected]
    if request.count == 1:
        return [ImageRequest(request.identity, request.expected[0], request.source)]
    return [
        ImageRequest(f"{request.identity}.{index}", expected, request.source)
        for index, expected in enumerate(request.expected)
    ]
