"""Callers that offer another protocol, as Java's client does with its first request: they are answered in this one."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.support.images import encode, flat
from tests.support.servers import TIMEOUT, Running, running_service

WHITE = encode(flat(255))
OFFERS = [
    pytest.param(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", id="http/2"),
    pytest.param(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", id="websocket"),
]
LAST = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running_service() as running:
        yield running


def framed(body: bytes, *, in_chunks: bool) -> bytes:
    """The end of a head, and the body as it announces it."""
    if in_chunks:
        middle = len(body) // 2
        parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:middle], body[middle:]))
        return b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def post(offer: bytes, body: bytes, *, in_chunks: bool = False) -> bytes:
    return b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\n" + offer + framed(body, in_chunks=in_chunks)


@contextmanager
def connected(service: Running) -> Iterator[socket.socket]:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def statuses(connection: socket.socket) -> list[int]:
    answer = b""
    while part := connection.recv(65536):
        answer += part
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answer)]


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("piece", [1, 150, 10**9])
def test_the_body_is_read_and_so_is_the_request_after_it(
    service: Running, offer: bytes, piece: int, *, in_chunks: bool
) -> None:
    sent = post(offer, WHITE, in_chunks=in_chunks) * 2 + LAST
    with connected(service) as connection:
        for start in range(0, len(sent), piece):
            connection.sendall(sent[start : start + piece])
        assert statuses(connection) == [200, 200, 200]


@pytest.mark.parametrize("offer", OFFERS)
def test_a_body_is_never_taken_for_a_request(service: Running, offer: bytes) -> None:
    with connected(service) as connection:
        connection.sendall(post(offer, b"GET /v1/model HTTP/1.1\r\nHost: x\r\n\r\n"))
        connection.sendall(LAST)
        assert statuses(connection) == [422, 200]


@pytest.mark.parametrize("offer", OFFERS)
def test_a_request_without_a_body_is_answered(service: Running, offer: bytes) -> None:
    with connected(service) as connection:
        connection.sendall(b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\n" + offer + b"\r\n" + LAST)
        assert statuses(connection) == [200, 200]


def test_a_body_that_goes_straight_into_its_buffer_may_follow_an_offer(service: Running) -> None:
    large = encode(flat(255)) + bytes(500_000)
    with connected(service) as connection:
        connection.sendall(post(b"Connection: Upgrade\r\nUpgrade: h2c\r\n", large))
        connection.sendall(post(b"", WHITE) + LAST)
        assert statuses(connection) == [200, 200, 200]
