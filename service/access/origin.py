"""Protection against requests that pages of other sites make a browser send (CSRF, DNS rebinding)."""

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from service.errors import Forbidden

_PORTS = {"http": 80, "https": 443}
_CROSS_SITE = "a page of another site may not send this: send it from a program, or open this service's own pages"


def check_origin(*, origin: str | None, site: str | None, host: str) -> None:
    """Refuse requests from pages of other sites. Programs send neither `Origin` nor `Sec-Fetch-Site` and pass.

    Raises:
        Forbidden: the page belongs to another host than `host`.
    """
    if site in ("cross-site", "same-site"):
        raise Forbidden(_CROSS_SITE)
    if origin == "null":
        raise Forbidden(
            "the Origin is null, as for a file, a sandboxed frame, or a browser extension that hides it: "
            "open the service's address in a tab of its own, without such an extension"
        )
    if origin is not None and not is_same_host(origin, host):
        raise Forbidden(
            f"the Origin {origin[:100]!r} does not match the Host {host[:100]!r}: a proxy must forward the Host header "
            "as it is, with its port (in nginx: proxy_set_header Host $http_host)"
        )


def check_reader(*, site: str | None, mode: str | None) -> None:
    """Refuse what pages of other sites load: links to this service work, images and fetches do not.

    Raises:
        Forbidden: another site loads it, and not as a page.
    """
    if site == "cross-site" and mode != "navigate":
        raise Forbidden(_CROSS_SITE)


class AllowedHosts:
    """The host names that browsers may use, against DNS rebinding.

    Rebinding changes the address of a name, so IP addresses are safe; they pass, as do loopback names.

    Args:
        names: further names that pass; `*` allows every name.
        addresses_pass: whether non-loopback addresses pass; required when other machines connect.
    """

    def __init__(self, names: Iterable[str], *, addresses_pass: bool) -> None:
        self._names = frozenset(name.lower().removesuffix(".") for name in names)
        self._addresses_pass = addresses_pass

    def check(self, host: str) -> None:
        """Refuse any other `Host`.

        Raises:
            Forbidden: the text names the setting to change.
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
            f"the Host {host[:100]!r} is not allowed: use 127.0.0.1 or localhost, "
            f"or add {name[:100]!r} to LENSGATE_ALLOWED_HOSTS"
        )


def is_same_host(origin: str, host: str) -> bool:
    """Whether an `Origin` and a `Host` name the same host and port."""
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
    """Whether an address or a name is loopback, without a DNS query."""
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
    """Return the name in a `Host`, without the dot at the end of an absolute name."""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return ""
