"""The inference endpoint: admit, read, decide, respond."""

import time
from collections.abc import Iterable, Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gate import Action, ImageError
from service.api.request_admission import admit_request
from service.api.v2.compression import MINIMUM_BYTES, choose_encoding, compress, decompress
from service.api.v2.metadata import served
from service.api.v2.request import InferenceRequest, ServedModel, SharedMemoryRange, parse_request
from service.api.v2.response import encode_answer
from service.api.v2.schemas import INFER
from service.api.v2.shared_memory import SharedMemoryRegions
from service.api.v2.statistics import Statistics
from service.errors import MalformedRequest, NotFound
from service.futures import gather_or_cancel
from service.http.query_params import check_names
from service.http.request_body import read_body, while_connected
from service.http.scope_state import request_state
from service.inference.decode_pool import Decoded
from service.inference.payload import Payload
from service.inference.preprocess import ModelInputs
from service.inference.request_context import ImageDecision, ImageRequest, RequestContext
from service.runtime import Runtime

_HEADER_LENGTH = "Inference-Header-Content-Length"


class InferEndpoint:
    """The endpoint, an ASGI app as that of `/v1/decisions` is.

    Args:
        runtime: decides about the images.
        regions: the shared memory that callers have registered.
        statistics: is told of every request.
    """

    operation = INFER

    def __init__(self, runtime: Runtime, regions: SharedMemoryRegions, statistics: Statistics) -> None:
        self._runtime = runtime
        self._settings = runtime.settings
        self._max_body_bytes = min(self._settings.max_tensor_bytes, self._settings.max_inflight_bytes)
        self._regions = regions
        self._statistics = statistics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whose path names the model and may name its version."""
        request = Request(scope, receive)
        check_names(request, ())
        started = time.monotonic()
        version = self._runtime.runner.card.version
        try:
            async with admit_request(self._runtime, request, max_body_bytes=self._max_body_bytes) as context:
                version = context.runner.card.version
                response = await self._answer(request, context)
        except BaseException:
            self._statistics.fail(version, seconds=time.monotonic() - started)
            raise
        await response(scope, receive, send)

    async def _answer(self, request: Request, context: RequestContext) -> Response:
        model = served(context.runner.card, self._settings)
        check_model(model, request.path_params)
        with context.stages.measure("read"):
            body = Payload(await self._read(request, context))
        asked = parse_request(
            body.take(),
            _header_length(request),
            served=model,
            read_shared=partial(self._read_shared, context),
            identified=partial(_note_identity, request),
        )
        if asked.source:
            request_state(request.scope).log["source"] = asked.source
        self._make_room(context, asked)
        with while_connected(request):
            answers = await self._decide(context, asked)
        encoding = time.monotonic()
        response = self._respond(request, asked, answers, model)
        ended = time.monotonic()
        self._statistics.succeed(
            model.version, context.stages, seconds=ended - context.started, encoding=ended - encoding
        )
        request_state(request.scope).log = _log_fields(asked, answers)
        return response

    async def _read(self, request: Request, context: RequestContext) -> bytes | bytearray:
        body = await read_body(request, context.permit, min_rate=self._settings.min_body_rate)
        encoding = request.headers.get("content-encoding")
        return body if encoding is None else await decompress(body, encoding, context.permit)

    def _read_shared(self, context: RequestContext, part: SharedMemoryRange) -> bytes:
        self._regions.check(part)
        context.permit.reserve(part.size)
        return self._regions.read(part)

    def _make_room(self, context: RequestContext, asked: InferenceRequest) -> None:
        """Admit what only the parsed request tells: timeout, number of images, shared memory of outputs."""
        if asked.timeout is not None:
            self._runtime.admission.check_wait(context.shorten(asked.timeout))
        for wanted in asked.outputs:
            if wanted.shared:
                self._regions.check(wanted.shared)
        context.permit.take_images(asked.count - 1)

    async def _decide(self, context: RequestContext, asked: InferenceRequest) -> list[ImageDecision]:
        pipeline, images = self._runtime.pipeline, _name_images(asked)
        if (pixels := asked.take_pixels()) is not None:
            return await pipeline.decide_pixels(context, pixels, images)
        decoded = await gather_or_cancel(
            self._decode(context, index, file) for index, file in enumerate(asked.take_files())
        )
        return await pipeline.decide_decoded(context, decoded, images)

    async def _decode(self, context: RequestContext, index: int, file: Payload[memoryview]) -> Decoded[ModelInputs]:
        try:
            return await self._runtime.pipeline.decode(context, file)
        except ImageError as error:
            raise type(error)(f"encoded_image[{index}]: {error}") from error

    def _respond(
        self, request: Request, asked: InferenceRequest, answers: Sequence[ImageDecision], model: ServedModel
    ) -> Response:
        answer = encode_answer(asked, answers, served=model)
        for part, data in answer.shared:
            self._regions.write(part, data)
        body, headers = answer.body, {"Content-Type": "application/json"}
        if answer.header_length is not None:
            headers = {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(answer.header_length)}
        if len(body) >= MINIMUM_BYTES and (encoding := choose_encoding(request.headers.get("accept-encoding"))):
            body = compress(body, encoding)
            headers["Content-Encoding"] = encoding
        return Response(body, headers=headers)


def check_model(model: ServedModel, path: dict[str, str]) -> None:
    """Raise NotFound where a path names another model, or another version, than is served."""
    name, version = path.get("name", model.name), path.get("version", model.version)
    if name != model.name:
        raise NotFound(f"unknown model {name[:64]!r}: {model.name!r} is served")
    if version != model.version:
        raise NotFound(f"version {version[:64]!r} of {name!r} is not served: version {model.version!r} is")


def _header_length(request: Request) -> int | None:
    text = request.headers.get(_HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise MalformedRequest(f"{_HEADER_LENGTH} is not a number of bytes")
    return int(text)


def _note_identity(request: Request, identity: str) -> None:
    request_state(request.scope).log = {"id": identity}


def _name_images(asked: InferenceRequest) -> list[ImageRequest]:
    """Return the recorded name of each image: the request's id, with an index if there are several."""
    names: Iterable[str | None] = (f"{asked.identity}.{index}" for index in range(asked.count))
    if not asked.identity or asked.count == 1:
        names = [asked.identity or None] * asked.count
    return [ImageRequest(name, expected, asked.source) for name, expected in zip(names, asked.expected, strict=True)]


def _log_fields(asked: InferenceRequest, answers: Sequence[ImageDecision]) -> dict[str, str | int]:
    accepted = sum(answer.decision.action is Action.ACCEPT for answer in answers)
    fields: dict[str, str | int] = {"accept": accepted, "discard": len(answers) - accepted}
    if asked.identity:
        fields["id"] = asked.identity
    return fields
