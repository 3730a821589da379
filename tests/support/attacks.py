"""Raw clients that send malformed HTTP by hand, and return the answers."""

import contextlib
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.servers import TIMEOUT


@dataclass(frozen=True)
class Outcome:
    """The answer to a request; status 0 if there was none."""

    status: int
    answer: bytes
    sent: int
    seconds: float


@contextlib.contextmanager
def connected(url: str, *, receive_buffer: int | None = None, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A plain connection from a loopback address."""
    address = urlsplit(url)
    with socket.socket() as connection:
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(TIMEOUT)
        connection.bind((source, 0))
        connection.connect((address.hostname, address.port))
        yield connection


def send(url: str, head: bytes, piece: bytes = b"", *, most: int = 100_000_000) -> Outcome:
    """Send a head, then `piece` again and again, until there is an answer or the connection is closed."""
    began, sent = time.monotonic(), 0
    with connected(url) as connection:
        connection.sendall(head)
        connection.setblocking(False)
        while time.monotonic() < began + TIMEOUT and sent < most:
            readable, _, _ = select.select([connection], [connection] if piece else [], [], 0.2)
            if readable:
                break
            with contextlib.suppress(OSError):
                sent += connection.send(piece)
        answer = read_head(connection)
    status = int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0
    return Outcome(status, answer, sent, time.monotonic() - began)


def read_head(connection: socket.socket) -> bytes:
    """Receive a header and the start of the body, or everything if the connection ends before."""
    connection.settimeout(TIMEOUT)
    answer = b""
    with contextlib.suppress(OSError):
        while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
            answer += part
    return answer


def read_all(connection: socket.socket) -> bytes:
    """Receive until the connection closes."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            answer += part
    return answer
