"""Probes and metrics, on the service's port or on a separate one."""

import logging
import socket
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import APIRouter, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from service.errors import NotReady, ServiceError
from service.http.allowed_methods import Methods
from service.http.body_limits import SmallBodies
from service.http.openapi import describe_problems
from service.http.server_config import make_config, url_of
from service.http.telemetry import Telemetry, answer_error
from service.inference.pipeline import Pipeline

log = logging.getLogger(__name__)


def make_probe_routes(pipeline: Pipeline) -> APIRouter:
    """Make the routes `/livez`, `/readyz` and `/metrics` for one pipeline."""
    router = APIRouter()
    not_ready = describe_problems([NotReady])

    @router.head("/livez", include_in_schema=False)
    @router.get("/livez", responses=not_ready, summary="Liveness: 503 if only a restart helps")
    async def livez() -> dict[str, str]:
        pipeline.check_alive()
        return {"status": "alive"}

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", responses=not_ready, summary="Readiness: 200 while requests are accepted")
    async def readyz() -> dict[str, str]:
        pipeline.check_ready()
        return {"status": "ready"}

    @router.head("/metrics", include_in_schema=False)
    @router.get("/metrics", summary="Export Prometheus metrics", response_class=Response)
    async def metrics() -> Response:
        return Response(generate_latest(pipeline.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


def make_probe_server(pipeline: Pipeline) -> "ProbeServer | None":
    """Make the server for `metrics_port`; None if it is not set."""
    settings = pipeline.settings
    if settings.metrics_port is None:
        return None
    return ProbeServer(
        make_config(
            _make_app(pipeline),
            settings,
            port=settings.metrics_port,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
    )


def _make_app(pipeline: Pipeline) -> ASGIApp:
    site = FastAPI(openapi_url=None, redirect_slashes=False, telemetry={"auto_configure": False})
    router = make_probe_routes(pipeline)
    site.include_router(router)
    for kind in (ServiceError, HTTPException):
        site.add_exception_handler(kind, answer_error)
    bounded = SmallBodies(site, seconds=pipeline.settings.timeout(None))
    return Telemetry(bounded, metrics=pipeline.metrics, methods=Methods(router.routes))


class ProbeServer(uvicorn.Server):
    """A server on a second port without tokens and TLS; it runs until the main server has ended."""

    @property
    def url(self) -> str:
        """Its URL, once bound."""
        return url_of(self._listener)

    def bind(self) -> None:
        """Bind the port; connections wait until the server starts.

        Raises:
            OSError: the port is unavailable.
        """
        host = self.config.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, self.config.port), family=family, backlog=self.config.backlog)

    async def __aenter__(self) -> Self:
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets=[self._listener])
        log.info("metrics on %s", self.url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown(sockets=[self._listener])
