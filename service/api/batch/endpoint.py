"""`POST /v1/decisions/batch`: many images in, one line of NDJSON for each while the upload continues."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gate import Label
from service.api.batch.multipart import FormParser
from service.api.batch.session import BatchSession
from service.api.batch.tar_framing import TarParser
from service.api.batch.upload_events import UploadParser
from service.api.decisions import DecisionAnswer
from service.api.request_admission import count_refusals
from service.errors import Internal, MalformedRequest, NotReady, Overloaded
from service.http.caller import name_caller
from service.http.openapi import describe_operation
from service.http.query_params import read_query
from service.http.scope_state import request_state
from service.runtime import Runtime

_FORM = "multipart/form-data"
_TAR = "application/x-tar"


class BatchQuery(BaseModel):
    """The query parameters."""

    model_config = ConfigDict(frozen=True)

    expected: Label | None = Field(None, description="The requested label, for all images")
    timeout_ms: int | None = Field(None, ge=1, description="Timeout of each image, from its last byte")


class DecisionLine(DecisionAnswer):
    """The line of a decision; `id` is null if the file name is not a valid id."""

    id: str | None  # type: ignore[assignment]


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


_LINE = TypeAdapter[Any](DecisionLine | ErrorLine | UploadErrorLine | SummaryLine)


class BatchEndpoint:
    """The endpoint, an ASGI app: the answer starts before the request has ended."""

    operation = describe_operation(
        "Decide about many images: the files of a form, or a WebDataset shard; a line of JSON for each, in order",
        query=BatchQuery,
        body={
            _FORM: {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}},
            _TAR: {"type": "string", "format": "binary"},
        },
        answer={**_LINE.json_schema(mode="serialization"), "description": "One line of the answer"},
        errors=(MalformedRequest, Overloaded, Internal, NotReady),
        answer_type="application/x-ndjson",
    )

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope)
        self._runtime.check_ready()
        query = read_query(request, BatchQuery)
        parser = make_parser(request.headers, self._runtime.settings.max_body_bytes)
        exchange = BatchSession(
            self._runtime,
            parser,
            scope=scope,
            receive=receive,
            send=send,
            expected=query.expected,
            timeout=self._runtime.settings.timeout(query.timeout_ms),
        )
        with count_refusals(self._runtime.metrics), self._runtime.admission.stream(name_caller(scope)):
            try:
                await exchange.run()
            finally:
                ended: dict[str, Any] = {"ended": "complete"}
                if exchange.fault:
                    ended = {"ended": exchange.fault.code, "detail": exchange.fault.detail[:500]}
                request_state(scope).log = exchange.counts | ended


def make_parser(headers: Headers, limit: int) -> UploadParser:
    """Choose the parser for a body with these headers; images have at most `limit` bytes.

    Raises:
        MalformedRequest: the content type or encoding is not supported.
    """
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise MalformedRequest("Content-Encoding is not supported here: send the body uncompressed")
    kind, options = parse_options_header(headers.get("content-type"))
    match kind.decode("latin-1"):
        case "application/x-tar":
            return TarParser(limit)
        case "multipart/form-data":
            return FormParser(options.get(b"boundary", b""))
        case other:
            raise MalformedRequest(f"the Content-Type {other[:100]!r} is not supported: use {_FORM} or {_TAR}")
