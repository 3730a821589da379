"""`POST /v1/decisions/batch`: many images in, one line of NDJSON for each while the upload continues."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from gate import Label
from service.api.batch.multipart import FormParser
from service.api.batch.session import BatchSession
from service.api.batch.tar_framing import TarParser
from service.api.batch.upload_events import UploadParser
from service.api.request_admission import CountRefusals
from service.errors import Internal, MalformedRequest, NotReady, Overloaded, ServiceError
from service.http.caller import name_caller
from service.http.framing import repeated_parameter, single_header
from service.http.openapi import BINARY, describe_body, describe_problems
from service.http.scope_state import request_state
from service.ids import Source
from service.inference.request_context import ImageRequest
from service.paths import BATCH
from service.runtime import Runtime
from service.schemas import DecisionAnswer

_FORM = "multipart/form-data"
_TAR = "application/x-tar"


class BatchQuery(BaseModel):
    """The query parameters."""

    model_config = ConfigDict(frozen=True)

    expected: Label | None = Field(None, description="The requested label, for all images")
    timeout_ms: int | None = Field(None, ge=1, description="Milliseconds from an image's last byte to its line")
    source: Source | None = Field(None, description="The generator, checkpoint or run that made the images")


class DecisionLine(DecisionAnswer):
    """The line of a decision."""

    id: str | None = Field(description="The file's name; null if that is not a valid id")  # type: ignore[assignment]


class ErrorBody(BaseModel):
    """An error; `code` as in other errors of the service."""

    code: str
    detail: str


class ErrorLine(BaseModel):
    """The line of an image without a decision; `id` is null if the file name is not a valid id."""

    id: str | None
    error: ErrorBody


class UploadErrorLine(BaseModel):
    """The line before the summary, if the upload was not read to its end."""

    error: ErrorBody


class LineCounts(BaseModel):
    """Number of lines of each kind, and of ignored files in a tar."""

    accept: int
    discard: int
    error: int
    ignored: int | None = Field(None, description="Missing if zero")


class SummaryLine(BaseModel):
    """The last line."""

    summary: LineCounts


class BatchResponse(Response):
    """The response of a batch: it reads the rest of the request while it is sent.

    Args:
        runtime: decides about the images.
        query: its parameters.
        parser: splits the body into images.
    """

    media_type = "application/x-ndjson"

    def __init__(self, runtime: Runtime, *, query: BatchQuery, parser: UploadParser) -> None:
        super().__init__()
        self._runtime = runtime
        self._query = query
        self._parser = parser

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read images and send their lines until the upload ends."""
        settings = self._runtime.settings
        session = BatchSession(
            self._runtime,
            self._parser,
            scope=scope,
            receive=receive,
            send=send,
            image=ImageRequest(expected=self._query.expected, source=self._query.source),
            timeout=settings.timeout(self._query.timeout_ms),
        )
        with CountRefusals(self._runtime.metrics), self._runtime.admission.stream(name_caller(scope)):
            try:
                await session.run()
            except Exception:
                session.fault = Internal()
                raise
            finally:
                request_state(scope).log = session.counts | self._describe_end(session.fault)

    def _describe_end(self, fault: ServiceError | None) -> dict[str, Any]:
        """Return the log fields of an upload's end. The `code` marks a failed request, although it is answered 200."""
        if fault is None:
            return {"ended": "complete"}
        source = {} if self._query.source is None else {"source": self._query.source}
        return {"ended": fault.code, "code": fault.code, "detail": fault.detail[:500], **source}


def make_batch_routes(runtime: Runtime) -> APIRouter:
    """Build `POST /v1/decisions/batch`."""
    router = APIRouter()

    @router.post(
        BATCH,
        summary="Decide about many images: the files of a form, or a WebDataset shard; one line of JSON each, in order",
        status_code=200,
        response_class=BatchResponse,
        response_model=DecisionLine | ErrorLine | UploadErrorLine | SummaryLine,
        response_description="One line of the answer",
        responses=describe_problems([MalformedRequest, Overloaded, Internal, NotReady]),
        openapi_extra={
            "requestBody": describe_body({_FORM: {"type": "object", "additionalProperties": BINARY}, _TAR: BINARY})
        },
    )
    async def decide_batch(request: Request, query: Annotated[BatchQuery, Query()]) -> Response:
        runtime.check_ready()
        parser = make_parser(request.headers, runtime.settings.max_body_bytes)
        return BatchResponse(runtime, query=query, parser=parser)

    return router


def make_parser(headers: Headers, limit: int) -> UploadParser:
    """Choose the parser for a body with these headers; images have at most `limit` bytes.

    Raises:
        MalformedRequest: the content type or encoding is not supported.
    """
    if (single_header(headers, "Content-Encoding") or "identity").lower() != "identity":
        raise MalformedRequest("Content-Encoding is not supported here: send the body uncompressed")
    content_type = single_header(headers, "Content-Type") or ""
    if (name := repeated_parameter(content_type.encode("latin-1"))) is not None:
        raise MalformedRequest(f"the Content-Type has {name[:40]!r} twice: send it once")
    kind, options = parse_options_header(content_type)
    name = kind.decode("latin-1")
    if name == _TAR:
        return TarParser(limit)
    if name == _FORM:
        return FormParser(options.get(b"boundary", b""))
    raise MalformedRequest(f"the Content-Type {name[:100]!r} is not supported: use {_FORM} or {_TAR}")
