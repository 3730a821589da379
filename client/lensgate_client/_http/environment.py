"""The proxy and the certificates that the environment names for the URL of a gate.

httpx reads the same variables, but it fails to make a client if NO_PROXY lists an IPv6 network, as in many containers.
"""

import ipaddress
import re
import ssl
from collections.abc import Mapping
from importlib.util import find_spec
from urllib.request import getproxies, getproxies_environment, proxy_bypass

import httpx

from lensgate_client.errors import single_line

_MAX_REASON = 300
_PORTS = {"http": 80, "https": 443}
_HOST_AND_PORT = re.compile(r"(?:\[(?P<address>[^\]]*)\]|(?P<name>[^:]*))(?::(?P<port>[0-9]+))?")


def find_proxy(url: httpx.URL) -> httpx.Proxy | None:
    """Return the proxy of HTTP_PROXY or HTTPS_PROXY, by the scheme of the URL, else of ALL_PROXY.

    It is None without one, and for the hosts that NO_PROXY lists: names with their subdomains, addresses, networks such
    as `10.0.0.0/8`, and `*`. Without any of these variables, Windows and macOS have settings of their own.

    Raises:
        ValueError: the variable is not the URL of a proxy, or of one that httpx lacks a package for.
    """
    proxies = getproxies_environment()
    is_system = not proxies
    if is_system:
        proxies = getproxies()
    name = url.scheme if proxies.get(url.scheme) else "all"
    proxy = proxies.get(name)
    if not proxy or (proxy_bypass(url.netloc.decode("ascii")) if is_system else _is_excluded(url, proxies)):
        return None
    setting = f"the {name} proxy of the system's settings" if is_system else f"the variable {name.upper()}_PROXY"
    try:
        parsed = httpx.Proxy(proxy if "://" in proxy else f"http://{proxy}")
    except (httpx.InvalidURL, ValueError) as error:
        reason = single_line(str(error), _MAX_REASON)
        raise ValueError(f"{setting} is not the URL of a proxy: {reason}") from None
    if parsed.url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise ValueError(
            f"{setting} names a SOCKS proxy, for which httpx needs another package: "
            "pip install 'httpx[socks]', or list the host of the gate in NO_PROXY"
        )
    return parsed


def describe_proxy(proxy: httpx.Proxy) -> str:
    """Name a proxy without its credentials, and how to avoid it."""
    return f"through the proxy {origin(proxy.url)} of the environment: NO_PROXY lists the hosts without one"


def origin(url: httpx.URL) -> str:
    """Return scheme, host and port, without credentials."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def find_certificates(url: httpx.URL) -> ssl.SSLContext:
    """Return the context for TLS with the certificates of SSL_CERT_FILE or SSL_CERT_DIR, else with those of httpx.

    Raises:
        ValueError: they cannot be loaded.
    """
    if url.scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise ValueError(f"the certificates of SSL_CERT_FILE or SSL_CERT_DIR cannot be loaded: {error}") from error


def _is_excluded(url: httpx.URL, proxies: Mapping[str, str]) -> bool:
    return any(_is_listed(url, entry.strip().lower()) for entry in proxies.get("no", "").split(","))


def _is_listed(url: httpx.URL, entry: str) -> bool:
    """Return whether an entry of NO_PROXY names the host of the URL."""
    scheme, separator, host = entry.rpartition("://")
    if entry == "*" or (separator and scheme not in (url.scheme, "all")):
        return entry == "*"
    # An IPv6 address has a port only behind brackets.
    match = _HOST_AND_PORT.fullmatch(host)
    name, port = (match["address"] or match["name"], match["port"]) if match else (host, None)
    if port and port != str(url.port or _PORTS[url.scheme]):
        return False
    try:
        return ipaddress.ip_address(url.host) in ipaddress.ip_network(name, strict=False)
    except ValueError:  # One of them is a name.
        name = name.lstrip("*").lstrip(".")
    hosts = (url.host, url.raw_host.decode("ascii"))
    return bool(name) and any(each == name or each.endswith(f".{name}") for each in hosts)
