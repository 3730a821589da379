"""What both of httpx's clients are given, and what their answers and errors mean here."""

import os
import re
from collections.abc import AsyncIterator, Iterator
from http.cookiejar import CookieJar
from typing import Any

import httpx

from lensgate_client._protocol.flow import Send
from lensgate_client._protocol.requests import Reply
from lensgate_client._protocol.texts import printable, shown
from lensgate_client.errors import DeadlineExceeded, GateError, GateUnreachable, UnexpectedAnswer

CONNECT_SECONDS = 5.0
"""To one address. What does not connect by then hardly will, and can be tried again."""

_KEEP_ALIVE_SECONDS = 30.0
"""Below what the gate and common balancers allow: who closes an idle connection should be this end."""

_IDLE_CONNECTIONS = 32

_SAID = 300

_LOST = re.compile("disconnected|closed connection")
"""What httpcore and h11 say of a connection that ended within an answer; else the answer broke the protocol."""


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
    # An answer that leads elsewhere would take the token and the image there, and no gate sets a cookie.
    return {
        "base_url": _check_url(url),
        "headers": headers,
        "limits": limits,
        "cookies": _NoCookies(),
        "follow_redirects": False,
    }


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


class _NoCookies(CookieJar):
    """Stays empty, whatever an answer sets, and parses nothing of it."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Leave the answer's cookies alone."""


class AnswerReader:
    """Collects an answer as it comes in, up to a limit.

    Args:
        response: whose body is still to come, and is given to `add` as it was sent.
        most: bytes of the body.

    Raises:
        UnexpectedAnswer: the head announces no answer of a gate.
    """

    def __init__(self, response: httpx.Response, most: int) -> None:
        self._response = response
        self._most = most
        self._body = bytearray()
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            # A few bytes may stand for any number of them, and the request did not allow it.
            self._most = 0
            self._refuse(f"it is compressed ({shown(encoding)}), which was not asked for")
        length = response.headers.get("content-length", "")
        if len(length) > 12 or (length.isdecimal() and int(length) > most):
            self._refuse_length()

    def add(self, chunk: bytes) -> bool:
        """Take in a part of the body; whether more is wanted."""
        room = self._most - len(self._body)
        self._body += chunk[:room]
        if len(chunk) > room:
            self._refuse_length()
        return len(chunk) <= room

    def reply(self) -> Reply:
        """The answer; the body of an error may be cut."""
        headers = {name.lower(): value for name, value in self._response.headers.items()}
        return Reply(self._response.status_code, headers, bytes(self._body))

    def _refuse_length(self) -> None:
        self._refuse(f"it is longer than {self._most:,} bytes")

    def _refuse(self, reason: str) -> None:
        # Of an error the status says enough.
        status = self._response.status_code
        if status == 200:
            raise UnexpectedAnswer(f"no Lensgate of this protocol answers so ({reason})", status=status)


def raw_chunks(response: httpx.Response) -> Iterator[bytes]:
    """The body as it was sent, part by part: httpx would inflate it without a limit."""
    # A transport that a caller made may have read it already.
    return iter((response.content,)) if response.is_stream_consumed else response.iter_raw()


async def araw_chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """The same on an event loop."""
    if response.is_stream_consumed:
        yield response.content
        return
    async for chunk in response.aiter_raw():
        yield chunk


def closed_error() -> GateError:
    """What a call finds whose gate object was closed."""
    return GateError("this gate object is closed", code="closed")


def error_of_transport(error: httpx.RequestError) -> GateError:
    """Why there is no answer, and whether the request may have been received."""
    said = printable(str(error), _SAID)
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError():
            return GateUnreachable(f"there is no connection to the gate ({text})")
        case httpx.TimeoutException():
            return DeadlineExceeded(f"the gate did not answer in time ({text})")
        case httpx.RemoteProtocolError() if not _LOST.search(said):
            return UnexpectedAnswer(f"the answer is not HTTP ({text})")
        case httpx.NetworkError() | httpx.RemoteProtocolError():
            return GateUnreachable(f"the connection to the gate was lost before its answer ({text})", is_lost=True)
        case _:
            return UnexpectedAnswer(f"the gate cannot be spoken to ({text})")


def _check_url(url: str) -> httpx.URL:
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{shown(url)} is no URL: {printable(str(error), _SAID)}") from error
    if found.userinfo:
        raise ValueError("the URL has a user or a password in it: a gate is asked with token=")
    if found.scheme not in ("http", "https") or not found.host or found.query or found.fragment:
        raise ValueError(f"{shown(url)} is no URL of a gate, such as http://127.0.0.1:8000 or https://gate.example")
    return found


def _check_token(token: str) -> str:
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        # The text does not show it: it would stand in logs.
        raise ValueError("the token is empty, or has characters that no token has")
    return token
