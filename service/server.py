"""The process: load and verify the model, listen, and on SIGTERM finish what was admitted."""

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from prometheus_client import disable_created_metrics

from gate import ModelStore
from gate.formats.png.fast_decoder import ACCELERATED
from service.access.exposure import check_exposure
from service.access.tls import Certificate
from service.api.health import make_probe_server
from service.app import create_app
from service.http.connections import Handshakes
from service.http.ports import check_ports, url_of
from service.http.server_config import Tls, make_config
from service.http.uvicorn_adapter.server import STARTUP_FAILURE, QuietServer
from service.inference.model_loading import load_model, load_shadow, load_within
from service.inference.model_reload import ModelWatch, State, read_state
from service.inference.model_runner import LoadedModel
from service.metrics.access import CertificateMetrics
from service.periodic import Repeated
from service.process.json_logs import configure_logging
from service.process.signals import handled
from service.runtime import Runtime, build_runtime
from service.settings import Settings

if TYPE_CHECKING:
    from service.http.tracing import Tracer

log = logging.getLogger(__name__)


def make_server(settings: Settings) -> "Server":
    """Load the current model and wrap it in a server that is ready to run.

    Raises:
        GateError: the model, the device or a setting is at fault; the text says what to do.
    """
    check_exposure(settings)
    check_ports(settings)
    configure_logging(settings.log_level)
    # A second series beside each counter, for the time it was made, doubles what Prometheus stores and says nothing.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    if not ACCELERATED:
        log.warning("PNGs are decoded by Pillow, four times as slowly: no C compiler was found at installation")
    store = ModelStore(settings.models)
    seen = read_state(store)
    load = partial(load_model, store, settings)
    loaded = load_within(load, settings)
    shadow = load_within(partial(load_shadow, store, settings), settings)
    runtime = build_runtime(settings, loaded, shadow=shadow)
    watch = watch_model(runtime, store, load=load, seen=seen)
    return Server(settings, runtime, tracer=_make_tracer(settings), watch=watch)


def watch_model(runtime: Runtime, store: ModelStore, *, load: Callable[[], LoadedModel], seen: State) -> ModelWatch:
    """Make the watch that loads the current model of `store` into the runtime; enter it to run it."""
    return ModelWatch(
        store,
        runtime.pipeline,
        settings=runtime.settings,
        load=load,
        seen=seen,
        metrics=runtime.metrics,
        is_draining=lambda: runtime.admission.is_draining,
    )


def _make_tracer(settings: Settings) -> "Tracer | None":
    if settings.traces_endpoint is None:
        return None
    # Half a second to import, and an extra: neither is for those who do not trace.
    from service.http.tracing import Tracer  # noqa: PLC0415

    return Tracer(settings.traces_endpoint)


class Server(QuietServer):
    """Uvicorn that closes admission the moment it is told to end, and then leaves with status 0."""

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        *,
        tracer: "Tracer | None" = None,
        watch: ModelWatch | None = None,
    ) -> None:
        self._runtime = runtime
        self._certificate = _load_certificate(settings, CertificateMetrics(runtime.metrics.registry))
        self._probes = make_probe_server(runtime)
        self._beside = contextlib.AsyncExitStack()
        self._watches: list[Repeated] = [self._certificate.watch] if self._certificate else []
        self._handshakes = Handshakes()
        super().__init__(
            make_config(
                create_app(runtime, tracer=tracer, watch=watch, watches=self._watches),
                settings,
                port=settings.port,
                # Whoever was admitted is answered or times out within this.
                timeout_graceful_shutdown=settings.timeout_ms // 1000 + 1,
                tls=self._tls(),
            )
        )

    def _tls(self) -> Tls | None:
        return Tls(self._certificate.context, self._handshakes) if self._certificate else None

    @property
    def url(self) -> str:
        """Where it listens, once `started`."""
        return url_of(self.servers[0].sockets[0], scheme="https" if self._certificate else "http")

    @property
    def metrics_url(self) -> str | None:
        """Where `/metrics` and probes are, once `started`, if not at `url`."""
        return self._probes.url if self._probes else None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. The probes' port is taken first, and answers once the other does."""
        if self._probes:
            try:
                self._probes.bind()
            except OSError as error:
                log.error("LENSGATE_METRICS_PORT: %s", error)
                sys.exit(STARTUP_FAILURE)
        await super().startup(sockets)
        if self.started:
            log.info("running on %s (Press CTRL+C to quit)", self.url)
        if self._probes:
            await self._beside.enter_async_context(self._probes)
        if self._certificate:
            await self._beside.enter_async_context(self._certificate.watch)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what was admitted; the probes are answered until that is done."""
        self._handshakes.close()
        await super().shutdown(sockets)
        await self._beside.aclose()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals for as long as the block lasts."""
        with super().capture_signals(), handled(end=self.handle_exit, reload=self._reload):
            yield

    def _reload(self) -> None:
        log.info("told to read model, tokens and certificate again")
        for watch in self._watches:
            watch.again()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Drain; a second signal does not wait, not even for a thread that hangs."""
        if self.should_exit:
            os._exit(1)
        self._runtime.drain()
        self.should_exit = True


def _load_certificate(settings: Settings, metrics: CertificateMetrics) -> Certificate | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_certificate, settings.tls_key, metrics=metrics)
