"""The review routes on a real port, with a caller that the test chooses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from gate import Band
from service.access.principal import UNRESTRICTED, Principal
from service.errors import ServiceError
from service.http.allowed_methods import AllowedMethods
from service.http.downloads import Downloads
from service.http.scope_state import request_state
from service.http.telemetry import Telemetry, answer_error
from service.metrics.decisions import Metrics
from service.records.store import Store
from service.review.metrics import ReviewMetrics
from service.review.routes import make_review_routes
from service.review.served_version import ServedVersion
from tests.support.servers import TIMEOUT, wait_until


@dataclass
class Site:
    """A running site; `principal` can be changed while it runs."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    client: httpx.Client = field(default_factory=httpx.Client)
    principal: Principal = UNRESTRICTED

    def make_app(self, store: Store | None) -> ASGIApp:
        """The routes with the service's error handlers and telemetry."""
        served = ServedVersion("1", Band(0.4, 0.6), 0.01)
        app = FastAPI()
        metrics = ReviewMetrics(self.registry)
        app.include_router(make_review_routes(store, served=lambda: served, metrics=metrics, downloads=Downloads()))
        for kind in (ServiceError, RequestValidationError):
            app.add_exception_handler(kind, answer_error)

        async def log_in(scope: Scope, receive: Receive, send: Send) -> None:
            request_state(scope).principal = self.principal
            await app(scope, receive, send)

        return Telemetry(log_in, Metrics(CollectorRegistry()), methods=AllowedMethods(app.routes))

    def put(self, record: str, verdict: str, **body: str) -> httpx.Response:
        """Give a verdict."""
        return self.client.put(f"/v1/review/verdicts/{record}", json={"verdict": verdict, **body})


@contextmanager
def running_site(store: Store | None) -> Iterator[Site]:
    """Serve it on a free port."""
    site = Site()
    config = uvicorn.Config(site.make_app(store), port=0, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT, trust_env=False) as site.client:
            yield site
    finally:
        server.should_exit = True
        thread.join(TIMEOUT)
        assert not thread.is_alive()
