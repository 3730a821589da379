"""`POST /v1/decisions/batch`: many images in, a line for each while they come."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from gate import Label
from service.api.batch.multipart import FormParser
from service.api.batch.session import Exchange
from service.api.batch.tar_framing import TarParser
from service.api.batch.upload_events import Parser
from service.api.decisions import DecisionAnswer
from service.api.request_admission import count_refusals
from service.errors import Internal, MalformedRequest, MethodNotAllowed, NotReady, Overloaded
from service.http.allowed_methods import REFUSE
from service.http.caller import name_caller
from service.http.openapi import describe_body, describe_problems
from service.runtime import Runtime

BATCH = "/v1/decisions/batch"
_FORM = "multipart/form-data"
_TAR = "application/x-tar"


class BatchQuery(BaseModel):
    """What stands behind the question mark."""

    model_config = ConfigDict(frozen=True)

    expected: Label | None = Field(None, description="What the generator was asked for, of all images")
    timeout_ms: int | None = Field(None, ge=1, description="Answer each image within this time of its last byte")


class ImageDecision(DecisionAnswer):
    """The line of an image that was judged; `id` is null where its name cannot be one."""

    id: str | None  # type: ignore[assignment]


class Fault(BaseModel):
    """What went wrong; `code` is that of the error with the same name."""

    code: str
    detail: str


class ImageFault(BaseModel):
    """The line of an image that was not judged; `id` is null where its name cannot be one."""

    id: str | None
    error: Fault


class StreamFault(BaseModel):
    """The last line but one, where the upload was not taken in to its end."""

    error: Fault


class Counts(BaseModel):
    """How many images got which line, and how many files of a tar are no images or accompany one."""

    accept: int
    discard: int
    error: int
    ignored: int | None = Field(None, description="Missing where there are none")


class Summary(BaseModel):
    """The last line."""

    summary: Counts


class BatchResponse(Response):
    """The response of a batch: it reads the rest of the request while it is sent.

    Args:
        runtime: decides about the images.
        request: the request, its body unread.
        query: its parameters.
        parser: splits the body into images.
    """

    media_type = "application/x-ndjson"

    def __init__(self, runtime: Runtime, request: Request, *, query: BatchQuery, parser: Parser) -> None:
        super().__init__()
        self._runtime = runtime
        self._request = request
        self._query = query
        self._parser = parser

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read images and send their lines until the upload ends."""
        settings = self._runtime.settings
        session = Exchange(
            self._runtime,
            self._parser,
            scope=scope,
            receive=receive,
            send=send,
            expected=self._query.expected,
            timeout=settings.timeout(self._query.timeout_ms),
        )
        with count_refusals(self._runtime.metrics), self._runtime.admission.stream(name_caller(scope)):
            try:
                await session.run()
            finally:
                ended: dict[str, Any] = {"ended": "complete"}
                if session.fault:
                    ended = {"ended": session.fault.code, "detail": session.fault.detail[:500]}
                self._request.state.log = session.counts | ended


def make_batch_routes(runtime: Runtime) -> APIRouter:
    """Build `POST /v1/decisions/batch`."""
    router = APIRouter()

    @router.post(
        BATCH,
        summary="Decide about many images: the files of a form, or a WebDataset shard; one line of JSON each, in order",
        status_code=200,
        response_class=BatchResponse,
        response_model=ImageDecision | ImageFault | StreamFault | Summary,
        response_description="One line of the answer",
        responses=describe_problems([MalformedRequest, Overloaded, Internal, NotReady]),
        openapi_extra={
            "requestBody": describe_body(
                {
                    _FORM: {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}},
                    _TAR: {"type": "string", "format": "binary"},
                }
            )
        },
    )
    async def decide_batch(request: Request, query: Annotated[BatchQuery, Query()]) -> Response:
        runtime.check_ready()
        parser = make_parser(request.headers, runtime.settings.max_body_bytes)
        return BatchResponse(runtime, request, query=query, parser=parser)

    @router.get(BATCH, name=REFUSE, include_in_schema=False)
    async def refuse() -> None:
        # `GET /v1/decisions/{name}` would look for a record of this name.
        raise MethodNotAllowed("this path has no such method: see Allow")

    return router


def make_parser(headers: Headers, limit: int) -> Parser:
    """The parser for a body with these headers, of images of `limit` bytes at most.

    Raises:
        MalformedRequest: there is none.
    """
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise MalformedRequest("the Content-Encoding is not accepted: send the images uncompressed")
    kind, options = parse_options_header(headers.get("content-type"))
    match kind.decode("latin-1"):
        case "application/x-tar":
            return TarParser(limit)
        case "multipart/form-data":
            return FormParser(options.get(b"boundary", b""))
        case other:
            raise MalformedRequest(f"the Content-Type {other[:100]!r} is not accepted: {_FORM} and {_TAR} are")
