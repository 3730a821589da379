"""Options of httpx's clients and requests, shared by the blocking and the asynchronous sender."""

import re
from http.cookiejar import CookieJar
from typing import Any

import httpx

from lensgate_client._http.environment import find_certificates, find_proxy
from lensgate_client._protocol.retry_loop import Attempt
from lensgate_client.errors import quoted, single_line

_CONNECT_SECONDS = 5.0
"""Timeout of a connection to one address; a later connection is unlikely, and the retry is safe."""

_KEEP_ALIVE_SECONDS = 30.0
"""Shorter than in the gate and in common load balancers: the client should close an idle connection first."""

_MAX_IDLE_CONNECTIONS = 32
_MAX_PORT = 65_535
_MAX_REASON = 300
_ENDPOINT = re.compile(r"/(?:v1/(?:decisions(?:/batch)?|model)|v2/(?:health|models)(?:/.*)?|docs|livez|readyz)/?$")
"""End of a URL that names an endpoint, as for curl. One that ends in /v1 may be of a proxy with versions of its own."""


def client_options(url: str, token: str | None, *, transport: object, handler: str) -> dict[str, Any]:
    """Return the options of `httpx.Client` and `httpx.AsyncClient`.

    A `transport`, whose method `handler` httpx calls, replaces the proxy and the certificates of the environment.

    Raises:
        TypeError: the transport has no such method.
        ValueError: the URL or the token is invalid, or a variable of the environment.
    """
    parsed = _check_url(url)
    if not (transport is None or hasattr(transport, handler)):
        raise TypeError(f"transport must be one of httpx with {handler}, not {type(transport).__name__}")
    headers = {"Accept-Encoding": "identity", "User-Agent": "lensgate-client"}
    if token is not None:
        headers["Authorization"] = f"Bearer {_check_token(token)}"
    limits = httpx.Limits(
        max_connections=None,
        max_keepalive_connections=_MAX_IDLE_CONNECTIONS,
        keepalive_expiry=_KEEP_ALIVE_SECONDS,
    )
    # A redirect would send the token and the image to another server, and a gate sets no cookies.
    return {
        "base_url": parsed,
        "headers": headers,
        "limits": limits,
        "cookies": _NoCookies(),
        "follow_redirects": False,
        "trust_env": False,
        "transport": transport,
        **({} if transport else {"proxy": find_proxy(parsed), "verify": find_certificates(parsed)}),
    }


def request_options(attempt: Attempt) -> dict[str, Any]:
    """Return the options of the `stream` method of both clients."""
    request = attempt.request
    return {
        "method": request.method,
        "url": request.path,
        "params": dict(request.params),
        "headers": dict(request.headers),
        "content": request.content,
        "timeout": httpx.Timeout(attempt.seconds, connect=min(attempt.seconds, _CONNECT_SECONDS)),
    }


class _NoCookies(CookieJar):
    """Cookie jar that stays empty and parses no Set-Cookie header."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Ignore the cookies of the response."""


def _check_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{quoted(url)} is not a URL: {single_line(str(error), _MAX_REASON)}") from error
    if parsed.userinfo:
        raise ValueError("the URL contains a user name or a password: pass the token of the gate as token=")
    is_port = parsed.port is None or 0 < parsed.port <= _MAX_PORT  # The system would take the rest of a larger one.
    if parsed.scheme not in ("http", "https") or not (parsed.host and is_port) or parsed.query or parsed.fragment:
        raise ValueError(f"{quoted(url)} is not a URL of a gate, such as http://127.0.0.1:8000 or https://gate.example")
    if endpoint := _ENDPOINT.search(parsed.path):
        base = parsed.copy_with(path=parsed.path[: endpoint.start()] or "/")
        raise ValueError(f"{quoted(url)} is the URL of an endpoint: pass the URL of the gate, {quoted(str(base))}")
    return parsed.copy_with(raw_path=parsed.raw_path.rstrip(b"/") + b"/")  # As of `base + "/"` with a slash in `base`.


def _check_token(token: str) -> str:
    if not isinstance(token, str):
        raise ValueError(f"the token must be a str, not {type(token).__name__}")
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        # The text does not quote the token, so that it does not appear in logs.
        raise ValueError("the token is empty or contains invalid characters; it is passed without 'Bearer'")
    return token
