"""A server that answers whatever bytes a test wants, at whatever pace, and notes what it was sent."""

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
class Asked:
    """One request."""

    head: str
    body: bytes = field(repr=False)

    @property
    def target(self) -> str:
        """Path and query."""
        return self.head.split(" ")[1]

    @property
    def header(self) -> dict[str, str]:
        """By name, in lower case."""
        pairs = (line.partition(":") for line in self.head.split("\r\n")[1:])
        return {name.lower(): value.strip() for name, _, value in pairs}

    @property
    def truth(self) -> dict[str, Any]:
        """What an honest gate answers."""
        if self.target == "/v1/model":
            found: dict[str, Any] = json.loads(card().content)
            return found
        if self.target.endswith("/infer"):
            return tensor_decisions(json.loads(self.body[: int(self.header["inference-header-content-length"])]))
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}
        return decision(query["id"], query.get("expected"))


Lie = Callable[[Asked], Iterable[bytes]]
"""Writes parts of an answer, the last of which may never come; `RESET` among them resets the connection."""

RESET = b"(reset)"


def answer(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    """An HTTP answer with a right length unless `lines` has one."""
    length = () if any(line.lower().startswith(("content-length", "transfer-")) for line in lines) else (len(body),)
    head = [f"HTTP/1.1 {status}", *lines, *(f"Content-Length: {number}" for number in length)]
    return "\r\n".join([*head, "", ""]).encode() + body


def honest(asked: Asked) -> Iterator[bytes]:
    """Answers as a gate does."""
    yield answer(json.dumps(asked.truth).encode())


class Liar:
    """Listens on a free port; each connection is one thread's."""

    def __init__(self, lie: Lie) -> None:
        self.seen: list[Asked] = []
        self.written = 0
        self._lie = lie
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """End every connection and every thread."""
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)
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
            while asked := _read(incoming):
                self.seen.append(asked)
                for part in self._lie(asked):
                    if part == RESET:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    connection.sendall(part)
                    self.written += len(part)


def _read(incoming: Any) -> Asked | None:
    lines = list(iter(lambda: incoming.readline().rstrip(b"\r\n"), b""))
    if not lines:
        return None
    asked = Asked(b"\r\n".join(lines).decode(), b"")
    asked.body = incoming.read(int(asked.header.get("content-length", 0)))
    return asked


@contextmanager
def lying(lie: Lie) -> Iterator[Liar]:
    """A `Liar` that is gone when the block ends."""
    liar = Liar(lie)
    try:
        yield liar
    finally:
        liar.close()
