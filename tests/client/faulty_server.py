"""A server that sends the bytes of a test at the pace of the test, and stores the requests."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.client.support import card, decision, tensor_decisions


@dataclass
class ReceivedRequest:
    """One request."""

    head: str
    body: bytes = field(repr=False)

    @property
    def target(self) -> str:
        """The path and the query."""
        return self.head.split(" ")[1]

    @property
    def header(self) -> dict[str, str]:
        """The headers by name, in lower case."""
        pairs = (line.partition(":") for line in self.head.split("\r\n")[1:])
        return {name.lower(): value.strip() for name, _, value in pairs}

    @property
    def correct_body(self) -> dict[str, Any]:
        """The response of a correct gate."""
        if self.target == "/v1/model":
            found: dict[str, Any] = json.loads(card().content)
            return found
        if self.target.endswith("/infer"):
            return tensor_decisions(json.loads(self.body[: int(self.header["inference-header-content-length"])]))
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}
        return decision(query["id"], query.get("expected"))


Responder = Callable[[ReceivedRequest], Iterable[bytes]]
"""Yields the chunks of a response, possibly endless; `RESET` resets the connection."""

RESET = b"(reset)"


def response(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    """Return an HTTP response; its Content-Length is correct unless `lines` has one."""
    length = () if any(line.lower().startswith(("content-length", "transfer-")) for line in lines) else (len(body),)
    head = [f"HTTP/1.1 {status}", *lines, *(f"Content-Length: {number}" for number in length)]
    return "\r\n".join([*head, "", ""]).encode() + body


def respond_correctly(request: ReceivedRequest) -> Iterator[bytes]:
    """Respond as a gate does."""
    yield response(json.dumps(request.correct_body).encode())


class FaultyServer:
    """Listens on a free port, with one thread for each connection."""

    def __init__(self, responder: Responder) -> None:
        self.seen: list[ReceivedRequest] = []
        self.written = 0
        self._responder = responder
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Close all connections and stop all threads."""
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=[connection]))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as incoming:
            while request := _read(incoming):
                self.seen.append(request)
                for chunk in self._responder(request):
                    if chunk == RESET:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    connection.sendall(chunk)
                    self.written += len(chunk)


def _read(incoming: Any) -> ReceivedRequest | None:
    lines = list(iter(lambda: incoming.readline().rstrip(b"\r\n"), b""))
    if not lines:
        return None
    request = ReceivedRequest(b"\r\n".join(lines).decode(), b"")
    request.body = incoming.read(int(request.header.get("content-length", 0)))
    return request


@contextmanager
def faulty_server(responder: Responder) -> Iterator[FaultyServer]:
    """Run a `FaultyServer` for the duration of the block."""
    server = FaultyServer(responder)
    try:
        yield server
    finally:
        server.close()
