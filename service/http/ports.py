"""The ports that the service listens on."""

import contextlib
import errno
import logging
import socket
from typing import Any

from service.errors import SettingsError
from service.settings import Settings

log = logging.getLogger(__name__)

ALL = "::"
"""The host that stands for all addresses, of IPv6 and of IPv4; `0.0.0.0` stands for those of IPv4."""

_NO_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Errors about an address that this machine does not have, or whose family it does not."""


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
        for bound in bind_port(host, port):
            bound.close()
    except OSError as error:
        raise SettingsError(f"{settings}: {error.strerror}") from error
    except UnicodeError as error:  # Not a valid host name.
        raise SettingsError(f"{settings}: the host name is not valid") from error


def reserve_port(host: str, port: int) -> tuple[list[socket.socket], int]:
    """Take a port without listening, so that only sockets with SO_REUSEPORT of this user can bind to it.

    Returns:
        The sockets, which processes inherit, one for each address of the host, and the port.

    Raises:
        OSError: the port is taken.
    """
    held = bind_port(host, port)
    for reserved in held:
        # Only now, so that the port was exclusive: two services that start at the same time must not share it.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.set_inheritable(True)
    return held, held[0].getsockname()[1]


def bind_port(host: str, port: int, *, share: bool = False) -> list[socket.socket]:
    """Bind a port of all addresses of a host that this machine has.

    Containers without IPv6 often name ::1 as localhost in their `/etc/hosts`.

    Args:
        host: name or address.
        port: 0 takes a free one.
        share: whether other workers bind it too; the kernel spreads new connections over those that listen.

    Raises:
        OSError: another program has the port, or the machine has none of the addresses.
    """
    listeners: list[socket.socket] = []
    missing: OSError | None = None
    with contextlib.ExitStack() as closed_on_error:
        for family, address in _addresses(host, port):
            try:
                bound = _bound(family, (address[0], port, *address[2:]), host=host, share=share)
            except OSError as error:
                if error.errno not in _NO_ADDRESS:
                    raise
                log.info("not listening on %s of %s: %s", address[0], host, error.strerror)
                missing = error
                continue
            listeners.append(closed_on_error.enter_context(bound))
            port = bound.getsockname()[1]
        if missing is not None and not listeners:
            raise missing
        closed_on_error.pop_all()
    return listeners


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in addresses))


def _bound(family: socket.AddressFamily, address: Any, *, host: str, share: bool = False) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # All addresses of a machine are also those of IPv4; other hosts have a socket for each family.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != ALL)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket, *, scheme: str = "http") -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
