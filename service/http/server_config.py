"""How every port of the service listens."""

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from service.errors import SettingsError
from service.http.connections import Connections
from service.http.uvicorn_adapter import GateProtocol
from service.settings import Settings


def check_ports(settings: Settings) -> None:
    """Find out in a moment, before a model is loaded, what would keep the service from listening.

    Raises:
        SettingsError: the address is none of this machine's, or a port is taken.
    """
    if settings.metrics_port and settings.metrics_port == settings.port:
        raise SettingsError(f"LENSGATE_PORT and LENSGATE_METRICS_PORT are both {settings.port}: each needs its own")
    for name, port in (("LENSGATE_PORT", settings.port), ("LENSGATE_METRICS_PORT", settings.metrics_port)):
        if port is not None:
            _check_port(settings.host, port, f"LENSGATE_HOST={settings.host} {name}={port}")


def _check_port(host: str, port: int, settings: str) -> None:
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                tried.bind(address)
    except OSError as error:
        raise SettingsError(f"{settings}: {error.strerror}") from error
    except UnicodeError as error:  # No name may look like that.
        raise SettingsError(f"{settings}: there is no such host") from error


def make_config(
    app: ASGIApp,
    settings: Settings,
    *,
    port: int,
    secured: Callable[[Callable[..., asyncio.Protocol]], Callable[..., asyncio.Protocol]] = lambda protocol: protocol,
    **more: Any,
) -> uvicorn.Config:
    """Make uvicorn's configuration of one port; `secured` puts TLS before the protocol, `more` is uvicorn's."""
    protocol = partial(
        GateProtocol,
        connections=Connections(settings.max_connections),
        max_header_bytes=settings.max_header_bytes,
    )
    return uvicorn.Config(
        app,
        host=settings.host,
        port=port,
        # Another protocol on the same port would pass telemetry by, and has limits of its own.
        ws="none",
        http=secured(protocol),  # type: ignore[arg-type]
        # Who is behind a proxy is of no account here.
        proxy_headers=False,
        log_config=None,
        access_log=False,
        server_header=False,
        # Longer than the idle time of common balancers: whoever closes first must not be the server.
        timeout_keep_alive=75,
        **more,
    )


def url_of(listener: socket.socket, *, scheme: str = "http") -> str:
    """Where a socket listens."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
