"""Archives and forms in memory, and a caller that sends and reads as slowly as a test wants."""

import http.client
import io
import itertools
import json
import random
import socket
import tarfile
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from tests.support.servers import TIMEOUT

Member = tuple[str, bytes]
Format = Literal[0, 1, 2]
"""Of `tarfile`."""

BOUNDARY = b"----boundary7"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY.decode()}"
TAR_TYPE = "application/x-tar"


def member(name: str, content: bytes, *, archive_format: Format = tarfile.PAX_FORMAT) -> bytes:
    """One file as it stands in an archive."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    head = info.tobuf(archive_format, "utf-8")
    return head + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def archive(members: Iterable[Member], *, archive_format: Format = tarfile.PAX_FORMAT) -> bytes:
    """A whole archive, by the standard library."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=archive_format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def part(name: str, content: bytes) -> bytes:
    """One file as it stands in a form, up to the boundary that follows it."""
    head = f'Content-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
    return b"--" + BOUNDARY + b"\r\n" + head.encode() + content + b"\r\n"


def form(members: Iterable[Member]) -> bytes:
    """A whole form."""
    return b"".join(part(name, content) for name, content in members) + b"--" + BOUNDARY + b"--\r\n"


def split(data: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    """The pieces between the cuts."""
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return (data[start:end] for start, end in itertools.pairwise(edges))


def noise(size: int, *, seed: int = 0) -> bytes:
    """Bytes that compress no better than a photograph."""
    return random.Random(seed).randbytes(size)


class Caller:
    """A connection on which one request is sent piece by piece while its answer is read line by line."""

    def __init__(self, url: str, kind: str = TAR_TYPE, *, query: str = "", receive_buffer: int | None = None) -> None:
        address = urlsplit(url)
        self.socket = socket.socket()
        self.socket.settimeout(TIMEOUT)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect((address.hostname, address.port))
        head = f"POST /v1/decisions/batch{query} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
        self.socket.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        self._answer: http.client.HTTPResponse | None = None

    def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        self.socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """Say that the body is complete."""
        self.socket.sendall(b"0\r\n\r\n")

    def line(self) -> dict[str, Any]:
        """The next line of the answer; empty where it has ended."""
        found: dict[str, Any] = json.loads(self.answer.readline() or b"{}")
        return found

    def rest(self) -> list[dict[str, Any]]:
        """All lines that are left."""
        return [json.loads(line) for line in self.answer.read().splitlines()]

    @property
    def answer(self) -> http.client.HTTPResponse:
        """The answer, whose head is waited for."""
        if self._answer is None:
            self._answer = http.client.HTTPResponse(self.socket, method="POST")
            self._answer.begin()
        return self._answer

    def close(self) -> None:
        """Leave."""
        if self._answer is not None:
            self._answer.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
