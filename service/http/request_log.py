"""Count, log and trace one finished request, whatever its transport."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from service.errors import ClientGone, Internal, ServiceError
from service.http.failed_request import FailedRequest, asks_for_decisions
from service.http.scope_state import RequestState
from service.ids import is_request_id, new_id
from service.metrics.decisions import Metrics

if TYPE_CHECKING:
    from service.http.tracing import Tracer

log = logging.getLogger("service.access")
_MAX_DETAIL = 500
_MAX_PATH = 256
_ATTRIBUTES = {"code": "error.type"}
"""The name of OpenTelemetry for a field of the log; the others get the prefix `lensgate.`."""


class RequestLog:
    """Writes one line for each request.

    Args:
        metrics: counts and times requests.
        tracer: creates spans; None if tracing is off.
        on_failure: called for each failed request for decisions.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        tracer: "Tracer | None",
        on_failure: Callable[[FailedRequest], None] | None = None,
    ) -> None:
        self._metrics = metrics
        self._tracer = tracer
        self._on_failure = on_failure

    def observe(
        self,
        state: RequestState,
        *,
        method: str,
        path: str,
        route: str,
        status: int,
        started: float,
        headers: Callable[[str], Sequence[str]],
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Note a request that ends now.

        Args:
            state: of the request.
            method, path: as they were asked.
            route: the label of its metrics.
            status: of its answer, by HTTP.
            started: its arrival, in seconds of the monotonic clock.
            headers: returns the values of one of its headers, for the trace.
            names: `id` and `source` of a failed request, as far as the endpoint did not read them.
        """
        seconds = time.monotonic() - started
        self._metrics.observe_request(route, status, seconds)
        failure = _describe_failure(state, status, names or {})
        further = {**failure, **state.log}
        fields = _common_fields(state, route, status, seconds=seconds, further=further)
        if self._on_failure is not None and "code" in fields and asks_for_decisions(method, path):
            self._on_failure(_failed_request(fields, path))
        if stages := state.stages.milliseconds():
            fields["stages"] = stages
        if trace_id := self._trace(state, method, route, status, started=started, headers=headers, further=further):
            fields["trace_id"] = trace_id
            self._metrics.link_trace(trace_id, route, seconds, stages=state.stages.latest())
        _write(f"{method} {path[:_MAX_PATH]}", fields)

    def _trace(
        self,
        state: RequestState,
        method: str,
        route: str,
        status: int,
        *,
        started: float,
        headers: Callable[[str], Sequence[str]],
        further: Mapping[str, str | int],
    ) -> str | None:
        if self._tracer is None:
            return None
        return self._tracer.record(
            f"{method} {route}",
            state.stages.measured,
            started=started,
            headers=headers,
            attributes={
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "lensgate.request_id": state.request_id,
                **{_ATTRIBUTES.get(name, f"lensgate.{name}"): value for name, value in further.items()},
            },
        )


def log_failed_image(
    state: RequestState,
    error: Mapping[str, str],
    *,
    path: str,
    status: int,
    seconds: float,
    names: Mapping[str, str],
    stages: Mapping[str, float],
) -> FailedRequest:
    """Write the line of one failed image of an upload, with the fields of a failed request.

    Args:
        state: of the upload.
        error: `code` and `detail`, as they were answered.
        path: of the upload.
        status: of the answer that the image alone would have got.
        seconds: spent on the image.
        names: its `id` and `source`, as far as they are known.
        stages: milliseconds of each stage.

    Returns:
        The failure as it is recorded.
    """
    further = {"code": error["code"], "detail": error["detail"][:_MAX_DETAIL], **names}
    fields = _common_fields(state, path, status, seconds=seconds, further=further)
    if stages:
        fields["stages"] = dict(stages)
    _write(f"image of POST {path}", fields)
    return replace(_failed_request(fields, path), status=None)


def log_fault(error: Exception, request_id: str) -> None:
    """Log an unexpected error with its traceback."""
    log.error("unexpected fault", exc_info=error, extra={"fields": {"request_id": request_id}})


def choose_request_id(values: Sequence[str]) -> str:
    """Return the caller's `X-Request-ID` if it is the only one and valid, else a new id."""
    return values[0] if len(values) == 1 and is_request_id(values[0]) else new_id()


def answerable(error: Exception, state: RequestState) -> ServiceError:
    """Return the error to answer, and note it in `state`; an unexpected one is logged and becomes `Internal`."""
    if not isinstance(error, ServiceError):
        log_fault(error, state.request_id)
        error = Internal()
    state.problem = error
    return error


def _common_fields(
    state: RequestState, route: str, status: int, *, seconds: float, further: Mapping[str, Any]
) -> dict[str, Any]:
    fields = {
        "request_id": state.request_id,
        "route": route,
        "status": status,
        "milliseconds": round(seconds * 1000, 3),
        **further,
    }
    if state.principal is not None and not state.principal.is_anonymous:
        fields["principal"] = state.principal.name
    return fields


def _write(message: str, fields: Mapping[str, Any]) -> None:
    level = logging.INFO if fields["status"] < 500 else logging.WARNING
    log.log(level, "%s", message, extra={"fields": fields})


def _failed_request(fields: Mapping[str, Any], path: str) -> FailedRequest:
    return FailedRequest(
        status=fields["status"],
        code=fields["code"],
        detail=fields["detail"],
        path=path,
        request_id=fields["request_id"],
        identity=fields.get("id"),
        source=fields.get("source"),
        token=fields.get("principal"),
    )


def _describe_failure(state: RequestState, status: int, names: Mapping[str, str]) -> dict[str, Any]:
    """Return the additional log fields of a failed request: code, detail, and the caller's id and source."""
    if status < 400:
        return {}
    fields: dict[str, Any] = {}
    problem = state.problem
    if problem is None and status == ClientGone.status:
        problem = ClientGone("the connection closed before the answer")
    if problem is not None:
        fields = {"code": problem.code, "detail": problem.detail[:_MAX_DETAIL]}
    return {**fields, **names}
