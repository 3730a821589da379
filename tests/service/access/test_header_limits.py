"""The head of a request: how long it may be, however it comes."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.support.images import encode, flat
from tests.support.servers import TIMEOUT, Running, running_service, wait_until

WHITE = encode(flat(255))
LIMIT = 2000


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running_service(max_header_bytes=LIMIT) as running:
        yield running


@contextmanager
def connected(service: Running) -> Iterator[socket.socket]:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    while part := connection.recv(65536):
        answer += part
    return answer


def send_while_open(connection: socket.socket, piece: bytes, *, most: int) -> int:
    """Send pieces until there is an answer; how many bytes that took."""
    sent = 0
    connection.setblocking(False)
    while sent < most:
        try:
            if connection.recv(1, socket.MSG_PEEK):
                break
        except BlockingIOError:
            pass
        try:
            sent += connection.send(piece)
        except BlockingIOError:
            continue
    connection.settimeout(TIMEOUT)
    return sent


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez?" + b"x" * LIMIT + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * LIMIT + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%03d: x\r\n" % number for number in range(300)) + b"\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * LIMIT + b"\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"x" * LIMIT + b": x\r\n\r\n",
    ],
    ids=["a long line", "a long value", "many headers", "many empty headers", "a long name"],
)
@pytest.mark.parametrize("piece", [100, 10**9])
def test_oversized_header_is_431_and_closes_the_connection(service: Running, head: bytes, piece: int) -> None:
    with connected(service) as connection:
        for start in range(0, len(head), piece):
            connection.sendall(head[start : start + piece])
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"header_too_large"' in answer
    assert b"or raise LENSGATE_MAX_HEADER_BYTES" in answer
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /livez?",
        b"GET /livez HTTP/1.1\r\nX-Long: ",
        b"GET /livez HTTP/1.1\r\nX-Long",
        b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Trailer: ",
        b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n1;extension=",
    ],
    ids=["a line", "a value", "a name", "a trailer", "a chunk's extension"],
)
def test_endless_header_is_431_after_the_limit(service: Running, beginning: bytes) -> None:
    with connected(service) as connection:
        connection.sendall(beginning)
        sent = send_while_open(connection, b"x" * 1000, most=50_000_000)
        assert sent < 50_000_000
        assert read_all(connection).startswith(b"HTTP/1.1 431 ")
    wait_until(lambda: service.inflight == 0)


def test_header_of_exactly_the_limit_is_accepted(service: Running) -> None:
    spare = LIMIT - len(b"/livezHost: x\r\nX: \r\n")
    with connected(service) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"x" * spare + b"\r\n\r\n")
        answer = connection.recv(65536)
        while b"alive" not in answer:
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX: x" + b"x" * spare + b"\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 431 ")


def test_header_limit_applies_to_each_request_of_a_connection(service: Running) -> None:
    head = b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1500 + b"\r\n\r\n"
    with connected(service) as connection:
        connection.sendall(head * 5)
        answers = b""
        while answers.count(b"alive") < 5:
            part = connection.recv(65536)
            assert part, answers
            answers += part


def test_oversized_header_behind_a_request_does_not_prevent_its_response(service: Running) -> None:
    first = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(WHITE)
    with connected(service) as connection:
        connection.sendall(first + WHITE + b"GET /livez?" + b"x" * LIMIT + b" HTTP/1.1\r\n\r\n")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer


def test_body_does_not_count_towards_the_header_limit(service: Running) -> None:
    image = encode(flat(255, 300)) + bytes(100_000)
    parts = b"".join(b"1\r\n%c\r\n" % byte for byte in WHITE) + b"0\r\n\r\n"
    chunked = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + parts
    with connected(service) as connection:
        connection.sendall(b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(image) + image)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        for byte in range(0, len(chunked), 7):
            connection.sendall(chunked[byte : byte + 7])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
