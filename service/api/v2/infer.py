"""The HTTP inference endpoint: admit, read, decide, respond."""

import time
from collections.abc import Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.request_admission import admit_request
from service.api.v2.compression import MINIMUM_BYTES, choose_encoding, compress, decompress
from service.api.v2.inference import Inference, log_fields
from service.api.v2.request import InferenceRequest, parse_request
from service.api.v2.response import encode_answer
from service.api.v2.schemas import INFER
from service.api.v2.served_model import ServedModel, check_model
from service.errors import MalformedRequest
from service.http.framing import single_header
from service.http.query_params import check_names
from service.http.request_body import WhileConnected, read_body
from service.http.scope_state import request_state
from service.inference.payload import Payload
from service.inference.request_context import ImageDecision, RequestContext

_HEADER_LENGTH = "Inference-Header-Content-Length"


class InferEndpoint:
    """The endpoint, an ASGI app as that of `/v1/decisions` is.

    Args:
        inference: decides and counts.
    """

    operation = INFER

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._runtime = inference.runtime
        self._settings = inference.runtime.settings
        self._max_body_bytes = min(self._settings.max_tensor_bytes, self._settings.max_inflight_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whose path names the model and may name its version."""
        request = Request(scope, receive)
        check_names(request, ())
        with self._inference.count_failure():
            async with admit_request(self._runtime, request, max_body_bytes=self._max_body_bytes) as context:
                response = await self._answer(request, context)
        await response(scope, receive, send)

    async def _answer(self, request: Request, context: RequestContext) -> Response:
        model = self._inference.model_of(context)
        check_model(model, request.path_params)
        with context.stages.measure("read"):
            body = Payload(await self._read(request, context))
        parsed = parse_request(
            body.take(),
            _header_length(request),
            model=model,
            read_shared=partial(self._inference.read_shared, context),
            note_names=partial(_note_names, request),
        )
        self._inference.make_room(context, parsed)
        with WhileConnected(request):
            answers = await self._inference.decide(context, parsed)
        encoding = time.monotonic()
        response = self._respond(request, parsed, answers, model)
        self._inference.count_success(context, encoding)
        request_state(request.scope).log = log_fields(parsed, answers)
        return response

    async def _read(self, request: Request, context: RequestContext) -> bytes | bytearray:
        body = await read_body(request, context.permit, min_rate=self._settings.min_body_rate)
        encoding = single_header(request.headers, "Content-Encoding")
        return body if encoding is None else await decompress(body, encoding, context.permit)

    def _respond(
        self, request: Request, parsed: InferenceRequest, answers: Sequence[ImageDecision], model: ServedModel
    ) -> Response:
        answer = encode_answer(parsed, answers, model=model)
        self._inference.write_shared(answer.shared)
        body, headers = answer.body, {"Content-Type": "application/json"}
        if answer.header_length is not None:
            headers = {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(answer.header_length)}
        if len(body) >= MINIMUM_BYTES and (encoding := choose_encoding(request.headers.get("accept-encoding"))):
            body = compress(body, encoding)
            headers["Content-Encoding"] = encoding
        return Response(body, headers=headers)


def _header_length(request: Request) -> int | None:
    text = single_header(request.headers, _HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise MalformedRequest(f"{_HEADER_LENGTH} is not a number of bytes")
    return int(text)


def _note_names(request: Request, names: dict[str, str | int]) -> None:
    request_state(request.scope).log = names
