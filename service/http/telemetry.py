"""The outermost layer of the app: request id, log line, metrics and trace, and the answer to unexpected errors."""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.identity import is_identity
from service.errors import ClientGone, MalformedRequest, MethodNotAllowed, NotFound, ServiceError
from service.http.allowed_methods import NOT_ALLOWED, NOT_FOUND, AllowedMethods
from service.http.failed_request import FailedRequest
from service.http.json_body import UNREADABLE
from service.http.query_params import describe_faults
from service.http.request_log import RequestLog, answerable, choose_request_id, log_fault
from service.http.scope_state import request_state
from service.metrics.decisions import Metrics
from service.paths import BATCH, DECISIONS

if TYPE_CHECKING:
    from service.http.tracing import Tracer

OTHER = "other"
"""The route label of unknown paths: callers can invent any number of them, and each would be a permanent series."""

RECORD = f"GET {DECISIONS}"
"""The route label of other methods than POST: service objectives cover decisions alone."""

# Answers depend on the caller's token or cookie and on the moment: a cache between would show them to others.
_UNCACHED = (b"cache-control", b"no-store")


class Telemetry:
    """ASGI middleware. The id of a request is its `X-Request-ID`, or new.

    Args:
        app: the wrapped app.
        metrics: counts and times requests.
        methods: the allowed methods of every path, for the `Allow` header of a 405 and of HEAD.
        tracer: creates spans; None if tracing is off.
        on_failure: called for each failed request for decisions.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        *,
        methods: AllowedMethods,
        tracer: "Tracer | None" = None,
        on_failure: Callable[[FailedRequest], None] | None = None,
    ) -> None:
        self._app = app
        self.methods = methods
        self._log = RequestLog(metrics, tracer=tracer, on_failure=on_failure)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        state = request_state(scope)
        request_id = choose_request_id(Headers(scope=scope).getlist("x-request-id"))
        state.request_id = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": _complete(message.get("headers", ()), request_id)}
                # HEAD asks about a resource, so its answer names the methods too (RFC 9110, 10.2.1).
                wanted = scope["method"] == "HEAD" or status == MethodNotAllowed.status
                if wanted and (allowed := self.methods.allowed(scope["path"])):
                    MutableHeaders(scope=message)["Allow"] = allowed
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            # FastAPI has answered the faults of its routes by `answer_error`, and raises them all the same.
            if status == 0:
                await _answer(error, scope)(scope, receive, send_with_id)
            elif state.problem is None:
                log_fault(error, request_id)
        finally:
            self._observe(scope, status or ClientGone.status, started)
            state.problem = None  # Its traceback holds the body, and an idle connection holds its last request.

    def _observe(self, scope: Scope, status: int, started: float) -> None:
        # What is refused before the router, such as for its token, has no route yet.
        route = getattr(scope.get("route") or self.methods.route_of(scope), "path_format", OTHER)
        if route == DECISIONS and scope["method"] != "POST":
            route = RECORD
        self._log.observe(
            request_state(scope),
            method=scope["method"],
            path=scope["path"],
            route=route,
            status=status,
            started=started,
            headers=lambda name: Headers(scope=scope).getlist(name),
            names=_read_names(scope) if status >= 400 else {},
        )


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer an error, as FastAPI's exception handler."""
    return _answer(error, request.scope)


def _answer(error: Exception, scope: Scope) -> Response:
    """Return the response to an error, logged first if it is unexpected."""
    return problem_response(answerable(_translate(error), request_state(scope)), scope)


def _complete(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """Add the id of the request and, unless the answer has its own rule, forbid caches to keep it."""
    completed = [*headers, (b"x-request-id", request_id.encode("ascii"))]
    return completed if any(name == b"cache-control" for name, _ in completed) else [*completed, _UNCACHED]


def problem_response(error: ServiceError, scope: Scope) -> Response:
    """Return an error in the form of RFC 9457; `/v2` adds the member `error` of the Open Inference Protocol."""
    state = request_state(scope)
    state.problem = error
    body: dict[str, Any] = error.problem(state.request_id)
    if scope["path"] == "/v2" or scope["path"].startswith("/v2/"):
        body["error"] = error.detail
    elif scope["path"] == BATCH:  # Readers of NDJSON lines expect the error there.
        body["error"] = {"code": error.code, "detail": error.detail}
    return Response(orjson.dumps(body), error.status, headers=error.headers, media_type="application/problem+json")


def _translate(error: Exception) -> Exception:
    """Return the error to answer in place of one of FastAPI or Starlette."""
    if isinstance(error, RequestValidationError):
        return MalformedRequest(describe_faults(error.errors()))
    if not isinstance(error, HTTPException):
        return error
    if isinstance(error.__cause__, MalformedRequest):  # Of the reader of a JSON body.
        return error.__cause__
    if error.status_code == NotFound.status:
        return NotFound(NOT_FOUND)
    if error.status_code == MethodNotAllowed.status:
        return MethodNotAllowed(NOT_ALLOWED, headers=dict(error.headers or {}))
    # What remains is FastAPI's error about a body, whose text says no more than that.
    return MalformedRequest(UNREADABLE)


def _read_names(scope: Scope) -> dict[str, str]:
    """Return `id` and `source` of the query: the request may have been refused before that was parsed."""
    if not scope["query_string"]:
        return {}
    query = parse_qs(scope["query_string"].decode("latin-1"))
    names = {name: query.get(name, [""])[-1] for name in ("id", "source")}
    return {name: value for name, value in names.items() if is_identity(value)}
