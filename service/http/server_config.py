"""Uvicorn's configuration, the same for every port of the service."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from service.http import uvicorn_adapter
from service.http.connections import Connections, Handshakes
from service.http.tls_handshake import secure
from service.settings import Settings

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 620
"""Longest idle time of a connection. A load balancer has to close first, else a request that it sends at that moment is
lost and answered 502; Google's keep a connection for 600 s. Beyond the limit of connections idle ones are closed.
"""


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of one port: the context, and a bound on the handshakes in progress."""

    context: ssl.SSLContext
    handshakes: Handshakes


def make_config(
    app: ASGIApp,
    settings: Settings,
    *,
    port: int,
    connections: int,
    on_refusal: Callable[[str], None],
    tls: Tls | None = None,
    **more: Any,
) -> uvicorn.Config:
    """Configure one port with a limit on open connections; `more` is uvicorn's.

    `on_refusal` is called with the reason for what is refused before it reaches the app.

    With a version of uvicorn that was not tested its own protocol serves the port, and a warning names the limits that
    this costs.
    """
    if uvicorn_adapter.is_tested():
        protocol = _gate_protocol(settings, Connections(connections, on_refusal))
        chosen: dict[str, Any] = {"http": protocol if tls is None else _secured(protocol, tls)}
    else:
        tested = ".".join(map(str, uvicorn_adapter.TESTED))
        log.warning(uvicorn_adapter.STOCK_WARNING, uvicorn.__version__, tested)
        chosen = _stock(settings, tls, connections)
    return uvicorn.Config(
        app,
        host=settings.host,
        port=port,
        # WebSockets on the same port would bypass telemetry and its limits.
        ws="none",
        # Decisions do not depend on the address behind a proxy.
        proxy_headers=False,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        **chosen,
        **more,
    )


def _gate_protocol(settings: Settings, connections: Connections) -> Callable[..., asyncio.Protocol]:
    # Imported only with a tested version: another one may lack the modules behind it.
    from service.http.uvicorn_adapter.protocol import GateProtocol  # noqa: PLC0415

    return partial(
        GateProtocol,
        connections=connections,
        max_header_bytes=settings.max_header_bytes,
    )


def _secured(protocol: Callable[..., asyncio.Protocol], tls: Tls) -> Callable[..., asyncio.Protocol]:
    return secure(protocol, context=tls.context, handshakes=tls.handshakes)


def _stock(settings: Settings, tls: Tls | None, connections: int) -> dict[str, Any]:
    """Return options for uvicorn's protocol on h11, which bounds request heads in bytes; httptools does not."""
    options: dict[str, Any] = {
        "http": "h11",
        "h11_max_incomplete_event_size": settings.max_header_bytes,
        "limit_concurrency": connections,
    }
    return options if tls is None else options | {"ssl_context_factory": lambda *_: tls.context}
