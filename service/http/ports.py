"""The ports that the service listens on."""

import socket

from service.errors import SettingsError
from service.settings import Settings


def check_ports(settings: Settings) -> None:
    """Check that the service can listen, before a model is loaded.

    Raises:
        SettingsError: the address does not belong to this machine, or a port is taken.
    """
    taken: dict[int, str] = {}
    ports = (
        ("LENSGATE_PORT", settings.port),
        ("LENSGATE_METRICS_PORT", settings.metrics_port),
        ("LENSGATE_GRPC_PORT", settings.grpc_port),
    )
    for name, port in ports:
        if port and taken.setdefault(port, name) != name:
            raise SettingsError(f"{taken[port]} and {name} are both {port}: each needs its own")
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
    except UnicodeError as error:  # Not a valid host name.
        raise SettingsError(f"{settings}: the host name is not valid") from error


def url_of(listener: socket.socket, *, scheme: str = "http") -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
