"""The gRPC port: its limits, its TLS, its start and its end."""

import asyncio
import logging
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from service.access.guard import Guard
from service.access.tls import Certificate
from service.api.v2.inference import Inference
from service.errors import SettingsError
from service.grpc_server.service import ROUTES, InferenceService
from service.http.request_log import RequestLog
from service.settings import Settings

log = logging.getLogger(__name__)

_SECOND = 1000
_WINDOW_BYTES = 64 * 2**10

_HOLD_SECONDS = 0.1
"""Time in which callers that were refused call again."""

_SENDING_SECONDS = 1.0
"""Time in which the last answers are sent when the service ends."""


class GrpcServer:
    """Serves the protocol for as long as its `async with` block lasts.

    Args:
        inference: decides and counts.
        guard: checks tokens and rates.
        log: notes each call.
        certificate: None serves without TLS.
    """

    def __init__(self, inference: Inference, *, guard: Guard, log: RequestLog, certificate: Certificate | None) -> None:
        self._runtime = inference.runtime
        self._service = InferenceService(inference, guard=guard, log=log)
        inference.runtime.metrics.expect_routes(ROUTES)
        self._certificate = certificate
        self._server: Any = None
        self.port = 0

    async def __aenter__(self) -> Self:
        settings = self._runtime.settings
        self._server, self.port = listen(
            self._service,
            settings,
            host=settings.host,
            port=settings.grpc_port or 0,
            reuse_port=self._runtime.worker.link is not None,
            connections=self._runtime.connections,
            certificate=self._certificate,
        )
        await self._server.start()
        log.info("gRPC on %s", _join(settings.host, self.port))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the calls in progress; probes are answered until then."""
        await self._service.drain(self._runtime.settings.timeout(None) + 1)
        self._service.hold()
        await asyncio.sleep(_HOLD_SECONDS)
        stopping = asyncio.create_task(self._server.stop(_SENDING_SECONDS))
        await asyncio.sleep(0)
        self._service.release()
        await stopping


def listen(
    service: InferenceService,
    settings: Settings,
    *,
    host: str,
    port: int,
    reuse_port: bool,
    connections: int,
    certificate: Certificate | None,
) -> tuple[Any, int]:
    """Make a server that listens, and return it with its port. It answers once it is started.

    `reuse_port` lets other processes listen on the port.

    Raises:
        SettingsError: the port is taken.
    """
    server = grpc.aio.server(
        options=_options(settings, reuse_port=reuse_port, connections=connections),
        maximum_concurrent_rpcs=connections,
    )
    server.add_generic_rpc_handlers(service.handlers())
    address = _join(host, port)
    try:
        if certificate is None:
            return server, server.add_insecure_port(address)
        return server, server.add_secure_port(address, _credentials(certificate))
    except RuntimeError as error:
        raise SettingsError(f"LENSGATE_HOST={host} LENSGATE_GRPC_PORT={port}: {error}") from error


def _options(settings: Settings, *, reuse_port: bool, connections: int) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(reuse_port)),
        ("grpc.max_receive_message_length", settings.grpc_max_message_bytes),
        # Above the first of them gRPC refuses some calls at random, above the second all.
        ("grpc.max_metadata_size", settings.max_header_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_header_bytes),
        ("grpc.max_allowed_incoming_connections", connections),
        ("grpc.max_concurrent_streams", 128),
        # The bytes of a message that arrive before it is read; a window that grows would hold more.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
        ("grpc.server_handshake_timeout_ms", 10 * _SECOND),
        ("grpc.max_connection_idle_ms", 75 * _SECOND),
        # What a caller does not read stays in its connection: end that at some time. The grace is for open calls.
        ("grpc.max_connection_age_ms", 1800 * _SECOND),
        ("grpc.max_connection_age_grace_ms", 60 * _SECOND),
        # Find callers that have vanished, and close on those that send pings all the time.
        ("grpc.keepalive_time_ms", 30 * _SECOND),
        ("grpc.keepalive_timeout_ms", 10 * _SECOND),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10 * _SECOND),
        ("grpc.http2.max_ping_strikes", 2),
    ]


def _credentials(certificate: Certificate) -> Any:
    """Return credentials that follow the certificate when its files change."""

    def current() -> Any:
        chain, key = certificate.pem
        return grpc.ssl_server_certificate_configuration([(key, chain)])

    return grpc.dynamic_ssl_server_credentials(current(), current)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
