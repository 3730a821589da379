"""The outermost layer of the app: request id, log line, metrics and trace, and the answer to unexpected errors."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ClientGone, Internal, MalformedRequest, MethodNotAllowed, NotFound, ServiceError
from service.http.allowed_methods import NOT_ALLOWED, AllowedMethods
from service.http.failed_request import FailedRequest, asks_for_decisions
from service.http.query_params import describe_faults
from service.http.scope_state import request_state
from service.ids import is_identity, is_request_id, new_id
from service.metrics.decisions import Metrics

if TYPE_CHECKING:
    from service.http.tracing import Tracer

OTHER = "other"
"""The route label of unknown paths: callers can invent any number of them, and each would be a permanent series."""

RECORD = "GET /v1/decisions"
"""The route label of other methods than POST: service objectives cover decisions alone."""

log = logging.getLogger("service.access")
_MOST_DETAIL = 500
_MOST_PATH = 256
_BATCH = "/v1/decisions/batch"


class Telemetry:
    """ASGI middleware. The id of a request is its `X-Request-ID`, or new.

    Args:
        app: the wrapped app.
        metrics: counts and times requests.
        tracer: creates spans; None if tracing is off.
        methods: the allowed methods of every path, for the `Allow` header of a 405.
        on_failure: called for each failed request for decisions.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        *,
        tracer: "Tracer | None" = None,
        methods: AllowedMethods | None = None,
        on_failure: Callable[[FailedRequest], None] | None = None,
    ) -> None:
        self._app = app
        self._methods = methods
        self._metrics = metrics
        self._tracer = tracer
        self._on_failure = on_failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        request_id = _take_over(Headers(scope=scope).get("x-request-id"))
        request_state(scope).request_id = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode("ascii"))]
                message = {**message, "headers": headers}
                if status == MethodNotAllowed.status and self._methods is not None:
                    MutableHeaders(scope=message)["Allow"] = self._methods.allowed(scope["path"])
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            # FastAPI has answered the faults of its routes by `answer_error`, and raises them all the same.
            if status == 0:
                await _answer(error, scope)(scope, receive, send_with_id)
            elif request_state(scope).problem is None:
                _log_fault(error, request_id)
        finally:
            self._observe(scope, status or ClientGone.status, started)

    def _observe(self, scope: Scope, status: int, started: float) -> None:
        seconds = time.monotonic() - started
        route = getattr(scope.get("route"), "path_format", OTHER)
        if route == "/v1/decisions" and scope["method"] != "POST":
            route = RECORD
        self._metrics.observe_request(route, status, seconds)
        state = request_state(scope)
        fields: dict[str, Any] = {
            "request_id": state.request_id,
            "route": route,
            "status": status,
            "milliseconds": round(seconds * 1000, 3),
            **_describe_failure(scope, status),
            **state.log,
        }
        if state.principal is not None and not state.principal.is_anonymous:
            fields["principal"] = state.principal.name
        if self._on_failure is not None and "code" in fields and asks_for_decisions(scope):
            self._on_failure(_failed_request(fields, scope["path"]))
        if stages := state.stages.milliseconds():
            fields["stages"] = stages
        if trace_id := self._trace(scope, route, status, started):
            fields["trace_id"] = trace_id
            self._metrics.link_trace(trace_id, route, seconds, stages=state.stages.latest())
        level = logging.INFO if status < 500 else logging.WARNING
        log.log(level, "%s %s", scope["method"], scope["path"][:_MOST_PATH], extra={"fields": fields})

    def _trace(self, scope: Scope, route: str, status: int, started: float) -> str | None:
        if self._tracer is None:
            return None
        state = request_state(scope)
        return self._tracer.record(
            f"{scope['method']} {route}",
            state.stages.found,
            started=started,
            headers=Headers(scope=scope),
            attributes={
                "http.request.method": scope["method"],
                "http.route": route,
                "http.response.status_code": status,
                "lensgate.request_id": state.request_id,
                **{f"lensgate.{name}": str(value) for name, value in state.log.items()},
            },
        )


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer an error, as FastAPI's exception handler."""
    return _answer(error, request.scope)


def _answer(error: Exception, scope: Scope) -> Response:
    """Return the response to an error, logged first if it is unexpected."""
    if (known := _translate(error)) is not None:
        return problem_response(known, scope)
    _log_fault(error, request_state(scope).request_id)
    return problem_response(Internal(), scope)


def _log_fault(error: Exception, request_id: str) -> None:
    log.error("unexpected fault", exc_info=error, extra={"fields": {"request_id": request_id}})


def problem_response(error: ServiceError, scope: Scope) -> Response:
    """Return an error in the form of RFC 9457; `/v2` adds the member `error` of the Open Inference Protocol."""
    state = request_state(scope)
    state.problem = error
    body: dict[str, Any] = error.problem(state.request_id)
    if scope["path"] == "/v2" or scope["path"].startswith("/v2/"):
        body["error"] = error.detail
    elif scope["path"] == _BATCH:  # Readers of NDJSON lines expect the error there.
        body["error"] = {"code": error.code, "detail": error.detail}
    return Response(orjson.dumps(body), error.status, headers=error.headers, media_type="application/problem+json")


def _translate(error: Exception) -> ServiceError | None:
    """Return the error to answer; None for an unexpected one."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, RequestValidationError):
        return MalformedRequest(describe_faults(error.errors()))
    if not isinstance(error, HTTPException):
        return None
    if error.status_code == NotFound.status:
        return NotFound("unknown path: /docs lists all paths")
    if error.status_code == MethodNotAllowed.status:
        return MethodNotAllowed(NOT_ALLOWED, headers=dict(error.headers or {}))
    return MalformedRequest(str(error))


def _take_over(given: str | None) -> str:
    return given if given and is_request_id(given) else new_id()


def _failed_request(fields: Mapping[str, Any], path: str) -> FailedRequest:
    return FailedRequest(
        fields["status"],
        fields["code"],
        fields["detail"],
        path,
        fields["request_id"],
        identity=fields.get("id"),
        source=fields.get("source"),
        token=fields.get("principal"),
    )


def _describe_failure(scope: Scope, status: int) -> dict[str, Any]:
    """Return the additional log fields of a failed request: code, detail, and the caller's id and source."""
    if status < 400:
        return {}
    fields: dict[str, Any] = {}
    problem = request_state(scope).problem
    if problem is None and status == ClientGone.status:
        problem = ClientGone("the connection closed before the answer")
    if problem is not None:
        fields = {"code": problem.code, "detail": problem.detail[:_MOST_DETAIL]}
    if not scope["query_string"]:
        return fields
    # The request may have been refused before its query was parsed.
    query = parse_qs(scope["query_string"].decode("latin-1"))
    given = {name: query.get(name, [""])[-1] for name in ("id", "source")}
    return fields | {name: value for name, value in given.items() if is_identity(value)}
