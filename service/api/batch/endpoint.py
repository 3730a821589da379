"""`POST /v1/decisions/batch`: many images in, a line for each while they come."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gate import Label
from service.api.batch.multipart import FormParser
from service.api.batch.session import Exchange
from service.api.batch.tar_framing import TarParser
from service.api.batch.upload_events import Parser
from service.api.decisions import DecisionAnswer
from service.api.request_admission import count_refusals
from service.errors import Internal, MalformedRequest, NotReady, Overloaded
from service.http.caller import name_caller
from service.http.openapi import describe_operation
from service.http.query_params import read_query
from service.runtime import Runtime

_FORM = "multipart/form-data"
_TAR = "application/x-tar"


class BatchQuery(BaseModel):
    """What stands behind the question mark."""

    model_config = ConfigDict(frozen=True)

    expected: Label | None = Field(None, description="What the generator was asked for, of all images")
    timeout_ms: int | None = Field(None, ge=1, description="Answer each image within this time of its last byte")


# The schema keeps the name that the OpenAPI document has always shown.
DecisionLine = create_model(
    "ImageDecision",
    __base__=DecisionAnswer,
    __doc__="The line of an image that was judged; `id` is null where its name cannot be one.",
    id=(str | None, ...),
)


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


_LINE = TypeAdapter[Any](DecisionLine | ImageFault | StreamFault | Summary)


class Batch:
    """The endpoint, an ASGI app: the answer begins before the request has ended, which no framework does."""

    operation = describe_operation(
        "Judge many images: the files of a form, or a WebDataset shard; a line of JSON for each, in order",
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
        exchange = Exchange(
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
                request.state.log = exchange.counts | ended


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
