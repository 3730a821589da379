"""The outermost layer of the app: an id, one log line and two metrics a request, and the last resort for a fault."""

import logging
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ClientGone, Internal, ServiceError
from service.identity import new_id
from service.metrics import Metrics

OTHER = "other"
"""The route label of what is no route of ours: anybody can invent paths, and each would be a series for ever."""

log = logging.getLogger("service.access")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Telemetry:
    """ASGI middleware. The request's id is `scope["state"]["request_id"]`, taken over from `X-Request-ID` if sent."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        request_id = _take_over(Headers(scope=scope).get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("unexpected fault", extra={"fields": {"request_id": request_id}})
            if status == 0:
                await problem_response(Internal(), request_id)(scope, receive, send_with_id)
        finally:
            self._observe(scope, status or ClientGone.status, time.perf_counter() - start, request_id)

    def _observe(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", OTHER)
        self._metrics.observe_request(route, status, seconds)
        fields = {
            "request_id": request_id,
            "route": route,
            "status": status,
            "milliseconds": round(seconds * 1000, 3),
            **scope["state"].get("log", {}),
        }
        level = logging.INFO if status < 500 else logging.WARNING
        log.log(level, "%s %s", scope["method"], scope["path"], extra={"fields": fields})


def problem_response(error: ServiceError, request_id: str) -> JSONResponse:
    """An error as RFC 9457 wants it."""
    return JSONResponse(
        error.problem(request_id), error.status, headers=error.headers, media_type="application/problem+json"
    )


def _take_over(given: str | None) -> str:
    return given if given and _REQUEST_ID.fullmatch(given) else new_id()
