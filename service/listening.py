"""How every port of the service listens."""

import socket
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from service.protocol import GateProtocol
from service.settings import Settings


def make_config(app: ASGIApp, settings: Settings, *, port: int, **more: Any) -> uvicorn.Config:
    """Uvicorn's configuration of one port; `more` is uvicorn's."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=port,
        http=partial(GateProtocol, max_header_bytes=settings.max_header_bytes),  # type: ignore[arg-type]
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
