"""What both of httpx's clients are given, and what their answers and errors mean here."""

import os
from typing import Any

import httpx

from lensgate_client.errors import DeadlineExceeded, GateError, GateUnreachable, UnexpectedAnswer
from lensgate_client.flow import Send
from lensgate_client.wire import Reply

CONNECT_SECONDS = 5.0
"""To one address. What does not connect by then hardly will, and can be tried again."""

_KEEP_ALIVE_SECONDS = 30.0
"""Below what the gate and common balancers allow: who closes an idle connection should be this end."""

_IDLE_CONNECTIONS = 32


class Owner:
    """The process that a gate object belongs to: connections that two share answer one with the other's answers."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def check(self) -> None:
        """Raise RuntimeError in any other process, such as a data loader's worker."""
        if os.getpid() != self._pid:
            raise RuntimeError("this gate was made in the process that forked this one: make one here")


def client_options(url: str, token: str | None) -> dict[str, Any]:
    """For `httpx.Client` and `httpx.AsyncClient`.

    Raises:
        ValueError: the URL or the token is none.
    """
    headers = {"Accept-Encoding": "identity", "User-Agent": "lensgate-client"}
    if token is not None:
        headers["Authorization"] = f"Bearer {_check_token(token)}"
    limits = httpx.Limits(
        max_connections=None,
        max_keepalive_connections=_IDLE_CONNECTIONS,
        keepalive_expiry=_KEEP_ALIVE_SECONDS,
    )
    return {"base_url": _check_url(url), "headers": headers, "limits": limits}


def request_options(send: Send) -> dict[str, Any]:
    """For the `request` method of both."""
    request = send.request
    return {
        "method": request.method,
        "url": request.path,
        "params": dict(request.params),
        "headers": dict(request.headers),
        "content": request.content,
        "timeout": httpx.Timeout(send.seconds, connect=min(send.seconds, CONNECT_SECONDS)),
    }


def reply_of(response: httpx.Response) -> Reply:
    """The answer, all of which has been read."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, response.content)


def closed_error() -> GateError:
    """What a call finds whose gate object was closed."""
    return GateError("this gate object is closed", code="closed")


def error_of_transport(error: httpx.RequestError) -> GateError:
    """Why there is no answer, and whether the request may have been received."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError():
            return GateUnreachable(f"there is no connection to the gate ({text})")
        case httpx.TimeoutException():
            return DeadlineExceeded(f"the gate did not answer in time ({text})")
        case httpx.NetworkError() | httpx.RemoteProtocolError():
            return GateUnreachable(f"the connection to the gate was lost before its answer ({text})", is_lost=True)
        case _:
            return UnexpectedAnswer(f"the gate cannot be spoken to ({text})")


def _check_url(url: str) -> httpx.URL:
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is no URL: {error}") from error
    if found.userinfo:
        raise ValueError("the URL has a user or a password in it: a gate is asked with token=")
    if found.scheme not in ("http", "https") or not found.host or found.query or found.fragment:
        raise ValueError(f"{url!r} is no URL of a gate, such as http://127.0.0.1:8000 or https://gate.example")
    return found


def _check_token(token: str) -> str:
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        # The text does not show it: it would stand in logs.
        raise ValueError("the token is empty, or has characters that no token has")
    return token
