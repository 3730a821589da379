"""Probes and metrics, on the service's port or on a separate one."""

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from service.errors import NotReady, ServiceError
from service.http.allowed_methods import AllowedMethods
from service.http.body_limits import BodyLimit
from service.http.head_requests import HeadAsGet
from service.http.openapi import TEXT, describe_files, describe_problems
from service.http.server_config import make_config
from service.http.telemetry import Telemetry, answer_error
from service.http.uvicorn_adapter.server import SecondServer
from service.metrics.formats import write_metrics
from service.runtime import Runtime


def make_probe_routes(runtime: Runtime) -> APIRouter:
    """Make the routes `/livez`, `/readyz` and `/metrics`."""
    router = APIRouter()
    not_ready = describe_problems([NotReady])

    @router.get("/livez", responses=not_ready, summary="Liveness: 503 if only a restart helps")
    async def livez() -> dict[str, str]:
        runtime.check_alive()
        return {"status": "alive"}

    @router.get("/readyz", responses=not_ready, summary="Readiness: 200 while requests are accepted")
    async def readyz() -> dict[str, str]:
        runtime.check_ready()
        return {"status": "ready"}

    @router.get(
        "/metrics",
        summary="Export Prometheus metrics",
        response_class=Response,
        responses=describe_files(dict.fromkeys(("text/plain", "application/openmetrics-text"), TEXT)),
    )
    async def metrics(request: Request) -> Response:
        reading = await runtime.metrics_of_all.all(ask=True)
        body, content_type = write_metrics(reading, ",".join(request.headers.getlist("accept")))
        return Response(body, headers={"Content-Type": content_type})

    return router


def make_probe_server(runtime: Runtime) -> SecondServer | None:
    """Return the server of probes and metrics on `metrics_port`, or None if it is not set."""
    settings = runtime.settings
    if settings.metrics_port is None:
        return None
    return SecondServer(
        make_config(
            _make_app(runtime),
            settings,
            port=settings.metrics_port,
            connections=runtime.connections,
            on_refusal=runtime.metrics.observe_refusal,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
    )


def _make_app(runtime: Runtime) -> ASGIApp:
    site = FastAPI(openapi_url=None, redirect_slashes=False, telemetry={"auto_configure": False})
    router = make_probe_routes(runtime)
    site.include_router(router)
    for kind in (ServiceError, HTTPException):
        site.add_exception_handler(kind, answer_error)
    methods = AllowedMethods(router.routes)
    bounded = BodyLimit(site, methods, seconds=runtime.settings.timeout(None))
    return Telemetry(HeadAsGet(bounded), metrics=runtime.metrics, methods=methods)
