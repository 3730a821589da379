"""Pages of other sites: what they may not make a browser do here."""

from collections.abc import Iterable
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


class AllowedHosts:
    """The names that a browser may know the service by, against DNS rebinding.

    A page can make its own name mean any address, but no address mean another: IP addresses always pass, and so do
    names of loopback.

    Args:
        names: others that pass; `*` is every name.
        addresses_pass: whether addresses of other machines pass, as they must where others come in.
    """

    def __init__(self, names: Iterable[str], *, addresses_pass: bool) -> None:
        self._names = frozenset(name.lower() for name in names)
        self._addresses_pass = addresses_pass

    def check(self, host: str) -> None:
        """Refuse a `Host` that is none of these.

        Raises:
            Forbidden: the text says what to set.
        """
        name = _hostname(host)
        if (
            is_loopback(name)
            or name in self._names
            or "*" in self._names
            or (self._addresses_pass and _is_address(name))
        ):
            return
        raise Forbidden(
            f"{host[:100]!r} is no name that this service knows: ask for 127.0.0.1 or localhost, "
            f"or add {name[:100]!r} to LENSGATE_ALLOWED_HOSTS"
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


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
