"""The server process: load and verify the model, listen, and on SIGTERM finish the admitted requests."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from prometheus_client import disable_created_metrics

from common.settings import doubtful_variables
from common.signals import Ending, Handler, handled
from common.terminal import say
from gate import ModelStore
from gate.extras import how_to_install
from gate.formats.png.fast_decoder import ACCELERATED
from service.access.exposure import check_exposure
from service.access.guard import Guard
from service.access.limits import RateLimits
from service.access.tls import Certificate
from service.access.tokens import open_tokens
from service.api.health import make_probe_server
from service.api.v2.inference import Inference
from service.app import create_app
from service.concurrency.periodic import Repeated
from service.errors import SettingsError
from service.http.connections import MAX_HANDSHAKES, Handshakes
from service.http.ports import bind_port, check_ports, url_of
from service.http.request_log import RequestLog
from service.http.server_config import Tls, make_config
from service.http.uvicorn_adapter.server import STARTUP_FAILURE, QuietServer
from service.inference.model_loading import load_model, load_shadow, load_within
from service.inference.model_reload import ModelWatch, State, read_state
from service.inference.model_runner import LoadedModel
from service.metrics.access import CertificateMetrics
from service.process.json_logs import configure_logging
from service.process.parent_link import ParentLink
from service.runtime import Runtime, build_runtime
from service.settings import Settings
from service.worker_context import ALONE, WorkerContext

if TYPE_CHECKING:
    from service.grpc_server.server import GrpcServer
    from service.http.tracing import Tracer

log = logging.getLogger(__name__)

_OTLP_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def make_server(settings: Settings, worker: WorkerContext = ALONE) -> "Server":
    """Load the current model and wrap it in a server that is ready to run.

    Args:
        settings: of the service.
        worker: this process among the workers.

    Raises:
        GateError: the model, the device or a setting is at fault; the text names the cure.
    """
    if worker.link is None:
        check_exposure(settings)
        check_ports(settings)
    configure_logging(settings.log_level, worker=worker.number if worker.link else None)
    # A `_created` series beside each counter would double the number of series in Prometheus.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    if not ACCELERATED:
        log.warning(
            "PNGs are decoded by Pillow, which takes four times as long: no C compiler was found at installation"
        )
    if worker.is_first:
        for warning in doubtful_variables(os.environ, Settings.variables().values()):
            log.warning(warning)
    store = ModelStore(settings.models)
    seen = read_state(store)
    load = partial(load_model, store, settings)
    loaded = load_within(load, settings)
    shadow = load_within(partial(load_shadow, store, settings), settings)
    runtime = build_runtime(settings, loaded, shadow=shadow, worker=worker)
    watch = watch_model(runtime, store, load=load, seen=seen)
    return Server(settings, runtime, tracer=make_tracer(settings), watch=watch)


def serve(server: "Server") -> None:
    """Run the server until a signal ends it. Both `lensgate serve` and `make run` start here."""
    # All objects that exist now stay. A garbage collection that visits them stops every request for 46 ms, so they are
    # moved out of its reach; the second collection makes the next one due only after as many new objects.
    gc.collect()
    gc.freeze()
    gc.collect()
    server.run()


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


def make_tracer(settings: Settings) -> "Tracer | None":
    """Make the tracer; None without LENSGATE_TRACES_ENDPOINT."""
    if settings.traces_endpoint is None:
        if given := [name for name in _OTLP_ENDPOINTS if os.environ.get(name)]:
            log.info("no traces are sent: %s has no effect without LENSGATE_TRACES_ENDPOINT", given[0])
        return None
    # An optional extra that takes 0.5 s to import.
    from service.http.tracing import Tracer  # noqa: PLC0415

    return Tracer(settings.traces_endpoint)


class Server(QuietServer):
    """A uvicorn server that closes admission as soon as it is told to end, and then exits with status 0."""

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        *,
        tracer: "Tracer | None" = None,
        watch: ModelWatch | None = None,
    ) -> None:
        self._runtime = runtime
        tokens = open_tokens(settings, runtime.metrics.registry)
        limits = RateLimits(shared=runtime.worker.rates)
        guard = Guard(tokens, limits=limits, on_limit=partial(runtime.metrics.observe_shed, "rate_limit"))
        inference = Inference(runtime)
        self._certificate = _load_certificate(settings, CertificateMetrics(runtime.metrics.registry))
        self._probes = make_probe_server(runtime)
        self._beside = contextlib.AsyncExitStack()
        self._watches: list[Repeated] = [watch] if watch else []
        self._watches += [each.watch for each in (tokens, self._certificate) if each]
        self.grpc = _make_grpc_server(inference, guard, tracer=tracer, certificate=self._certificate)
        self._ending = Ending(lambda _: self._end(), lambda _: self._exit())
        self._link = runtime.worker.link
        if self._link is not None:
            self._connect(self._link)
        self._listeners: list[socket.socket] | None = None
        on_refusal = runtime.metrics.observe_refusal
        self._handshakes = Handshakes(runtime.worker.share(MAX_HANDSHAKES), on_refusal)
        super().__init__(
            make_config(
                create_app(inference, guard, tracer=tracer, parts=(watch, self.grpc)),
                settings,
                port=settings.port,
                connections=runtime.connections,
                on_refusal=on_refusal,
                # Every admitted request is answered or times out within this.
                timeout_graceful_shutdown=settings.timeout_ms // 1000 + 1,
                tls=self._tls(),
            )
        )

    def _tls(self) -> Tls | None:
        return Tls(self._certificate.context, self._handshakes) if self._certificate else None

    @property
    def url(self) -> str:
        """The address of the main port, once `started`."""
        return url_of(self.servers[0].sockets[0], scheme="https" if self._certificate else "http")

    @property
    def metrics_url(self) -> str | None:
        """The address of `/metrics` and the probes, once `started`, if they have a port of their own."""
        return self._probes.url if self._probes else None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. The probes' port is bound first, and answers once the main port does."""
        if self._link is not None:
            # The successor of a parent that was killed meanwhile may have the port already.
            self._link.check_parent()
        if self._probes:
            with _or_exit("LENSGATE_METRICS_PORT"):
                self._probes.bind(share_port=self._link is not None)
        with _or_exit("LENSGATE_PORT"):
            sockets = self._listeners = bind_port(self.config.host, self.config.port, share=self._link is not None)
        await super().startup(sockets)
        if self.started:
            self._announce()
        if self._probes:
            await self._beside.enter_async_context(self._probes)
        if self._certificate:
            await self._beside.enter_async_context(self._certificate.watch)
        if self._link is not None:
            self._link.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the admitted requests and end the threads; probes are answered until then."""
        self._handshakes.close()
        await super().shutdown(sockets or self._listeners)
        await self._beside.aclose()

    def _announce(self) -> None:
        """Announce the URL: as text on a terminal, otherwise as a log line."""
        if not (self._runtime.worker.is_first and os.isatty(2) and log.isEnabledFor(logging.INFO)):
            log.info("running on %s (Press CTRL+C to quit)", self.url)
            return
        card = self._runtime.runner.card
        say(
            f"\nLensgate serves {card.name} {card.version} on {self.url}/ (the API is described at {self.url}/docs)\n"
            f"  curl --data-binary @FILE {self.url}/v1/decisions\nCtrl-C ends it.\n",
            error=True,
        )

    def _connect(self, link: ParentLink) -> None:
        """Connect the link to this server's parts; the app's lifespan opens it."""
        link.read = lambda: self._runtime.metrics_of_all.own().encode()
        link.check = lambda: None if self.should_exit else self._runtime.check_alive()
        link.reload = self._reload_all
        link.end = self._end

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals for the duration of the block."""
        handlers: dict[signal.Signals, Handler] = {signal.SIGQUIT: self.handle_exit, signal.SIGHUP: self._reload}
        with super().capture_signals(), handled(handlers):
            yield

    def _reload(self, *_: object) -> None:
        log.info("reloading model, tokens and certificate")
        for watch in self._watches:
            watch.again()

    async def _reload_all(self) -> None:
        log.info("reloading model, tokens and certificate")
        await asyncio.gather(*(watch.finish_again() for watch in self._watches))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain. A second signal exits at once, even if a thread hangs."""
        self._ending(sig, frame)

    def _exit(self) -> None:
        # A worker leaves that to its parent: it is told twice if a service manager signals all processes at once.
        if self._link is None or not self._link.is_connected:
            os._exit(1)

    def _end(self) -> None:
        self._runtime.drain()
        self.should_exit = True


def _make_grpc_server(
    inference: Inference, guard: Guard, *, tracer: "Tracer | None", certificate: Certificate | None
) -> "GrpcServer | None":
    runtime = inference.runtime
    if runtime.settings.grpc_port is None:
        return None
    # An optional extra. Its C code would otherwise write lines to standard error that are not JSON.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from service.grpc_server.server import GrpcServer  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(f"LENSGATE_GRPC_PORT needs {error.name}: {how_to_install('grpc')}") from error
    log_of_calls = RequestLog(runtime.metrics, tracer=tracer, on_failure=runtime.note_failure)
    return GrpcServer(inference, guard=guard, log=log_of_calls, certificate=certificate)


@contextlib.contextmanager
def _or_exit(setting: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.error("%s: %s", setting, error)
        sys.exit(STARTUP_FAILURE)


def _load_certificate(settings: Settings, metrics: CertificateMetrics) -> Certificate | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_certificate, settings.tls_key, metrics=metrics)
