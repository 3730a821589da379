"""The process: load and verify the model, listen, and on SIGTERM finish what was admitted."""

import logging
import os
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from prometheus_client import disable_created_metrics

from gate import ModelStore
from gate.png import ACCELERATED
from service.app import create_app, create_pipeline
from service.loading import load_model, load_shadow
from service.logs import configure_logging
from service.pipeline import Pipeline
from service.protocol import GateProtocol
from service.settings import Settings
from service.watching import ModelWatch, read_state

if TYPE_CHECKING:
    from service.tracing import Tracer

log = logging.getLogger(__name__)


def make_server(settings: Settings) -> "Server":
    """Load the current model and wrap it in a server that is ready to run.

    Raises:
        GateError: the model, the device or a setting is at fault; the text says what to do.
    """
    configure_logging(settings.log_level)
    # A second series beside each counter, for the time it was made, doubles what Prometheus stores and says nothing.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    if not ACCELERATED:
        log.warning("PNGs are decoded by libpng, at half the speed: no C compiler was found at the installation")
    store = ModelStore(settings.models)
    seen = read_state(store)
    load = partial(load_model, store, settings)
    pipeline = create_pipeline(settings, load(), shadow=load_shadow(store, settings))
    watch = ModelWatch(store, pipeline, load=load, seconds=settings.model_poll_seconds, seen=seen)
    return Server(
        settings, pipeline, tracer=_make_tracer(settings), watch=watch if settings.model_poll_seconds else None
    )


def _make_tracer(settings: Settings) -> "Tracer | None":
    if settings.traces_endpoint is None:
        return None
    # Half a second to import, and an extra: neither is for those who do not trace.
    from service.tracing import Tracer  # noqa: PLC0415

    return Tracer(settings.traces_endpoint)


class Server(uvicorn.Server):
    """Uvicorn that closes admission the moment it is told to end, and then leaves with status 0."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        *,
        tracer: "Tracer | None" = None,
        watch: ModelWatch | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(pipeline, tracer=tracer, watch=watch),
                host=settings.host,
                port=settings.port,
                http=GateProtocol,
                # Who is behind a proxy is of no account here.
                proxy_headers=False,
                log_config=None,
                access_log=False,
                server_header=False,
                # Longer than the idle time of common balancers: whoever closes first must not be the server.
                timeout_keep_alive=75,
                # Whoever was admitted is answered or times out within this.
                timeout_graceful_shutdown=settings.timeout_ms // 1000 + 1,
            )
        )
        self._pipeline = pipeline

    @property
    def url(self) -> str:
        """Where it listens, once `started`."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Drain; a second signal does not wait, not even for a thread that hangs."""
        if self.should_exit:
            os._exit(1)
        self._pipeline.drain()
        self.should_exit = True
