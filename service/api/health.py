"""What orchestrators and Prometheus ask for, with the service's other paths or on a port of its own."""

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
from service.runtime import Runtime

log = logging.getLogger(__name__)


def make_probe_routes(runtime: Runtime) -> APIRouter:
    """`/livez`, `/readyz` and `/metrics` of one runtime."""
    router = APIRouter()
    not_ready = describe_problems([NotReady])

    @router.head("/livez", include_in_schema=False)
    @router.get("/livez", responses=not_ready, summary="200 unless only a restart helps")
    async def livez() -> dict[str, str]:
        runtime.check_alive()
        return {"status": "alive"}

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", responses=not_ready, summary="200 where requests may be sent")
    async def readyz() -> dict[str, str]:
        runtime.check_ready()
        return {"status": "ready"}

    @router.head("/metrics", include_in_schema=False)
    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def metrics() -> Response:
        return Response(generate_latest(runtime.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


def make_probe_server(runtime: Runtime) -> "ProbeServer | None":
    """What answers on `metrics_port`; None where that is not set."""
    settings = runtime.settings
    if settings.metrics_port is None:
        return None
    return ProbeServer(
        make_config(
            _make_app(runtime),
            settings,
            port=settings.metrics_port,
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
    bounded = SmallBodies(site, seconds=runtime.settings.timeout(None))
    return Telemetry(bounded, metrics=runtime.metrics, methods=Methods(router.routes))


class ProbeServer(uvicorn.Server):
    """A second port of the process, without tokens and without TLS; it answers until the other has ended."""

    @property
    def url(self) -> str:
        """Where it listens, once the port is taken."""
        return url_of(self._listener)

    def bind(self) -> None:
        """Take the port; whoever connects is kept waiting.

        Raises:
            OSError: it cannot be listened on.
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
