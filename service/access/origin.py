"""Pages of other sites: what they may not make a browser do here."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from service.errors import Forbidden

_PORTS = {"http": 80, "https": 443}


def check_origin(*, origin: str | None, site: str | None, host: str) -> None:
    """Refuse what a page of another site asks for. Programs send neither `Origin` nor `Sec-Fetch-Site`, and pass.

    Raises:
        Forbidden: the page that asks is not one of `host`'s.
    """
    if site in ("cross-site", "same-site"):
        raise Forbidden("a page of another site may not ask for this")
    if origin is not None and not is_same_host(origin, host):
        raise Forbidden(
            f"a page of {origin[:100]!r} may not ask {host[:100]!r} for this: a proxy in between must pass Host on"
        )


def check_host(host: str) -> None:
    """Refuse names that somebody else's name server has made to mean this machine (DNS rebinding).

    Raises:
        Forbidden: `host` names no loopback address.
    """
    if not is_loopback(_hostname(host)):
        raise Forbidden(
            f"{host[:100]!r} is no name of this machine alone: ask for 127.0.0.1 or localhost, "
            "or set LENSGATE_ALLOW_UNAUTHENTICATED=true where a proxy in front decides who comes in"
        )


def is_same_host(origin: str, host: str) -> bool:
    """Whether an `Origin` is a page of the `Host` that it was sent to."""
    try:
        page = urlsplit(origin)
        port = page.port or _PORTS.get(page.scheme)
        here = urlsplit(f"{page.scheme}://{host}")
        return page.hostname is not None and (page.hostname, port) == (
            here.hostname,
            here.port or _PORTS.get(page.scheme),
        )
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether an address, or a name without asking anybody what it means, is this machine's alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
