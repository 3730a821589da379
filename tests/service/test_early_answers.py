"""Answers that are sent before the request has arrived: they reach the caller, and the connection ends in time."""

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.attacks import connected, read_all, read_head, send
from tests.support.images import encode, flat
from tests.support.servers import Running, running_service

WHITE = encode(flat(255))
PROBE = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /v1/nothing HTTP/1.1\r\nHost: x\r\n%bTransfer-Encoding: chunked\r\n\r\n5\r\nab"


def read_to_end(connection: socket.socket) -> bytes:
    """Receive until the connection closes; raise ConnectionResetError if it is reset."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running_service() as running:
        yield running


def test_a_refused_expectation_ends_the_connection_and_one_that_is_met_does_not(service: Running) -> None:
    """Clients such as okhttp send the next request in place of the body, where it would be discarded as one."""
    expecting = POST.replace(b"Host", b"Expect: 100-continue\r\nHost") % len(WHITE)
    with connected(service.url) as connection:
        connection.sendall(expecting.replace(b"decisions", b"decisions?x=1") + PROBE)
        answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in answer
    with connected(service.url) as connection:
        for _ in range(2):
            connection.sendall(expecting + WHITE)
            answer = read_head(connection).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n") or read_head(connection)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" not in answer


def test_refused_body_is_discarded_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.uvicorn_adapter.closing.DISCARD_SECONDS", 0.3)
    for framing in (b"Content-Length: 1000000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"):
        with running_service() as service, connected(service.url) as connection:
            connection.sendall(b"PUT /v1/decisions HTTP/1.1\r\nHost: x\r\n" + framing)
            assert read_all(connection).startswith(b"HTTP/1.1 405 ")


LAST = (
    b"1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4000000\r\n\r\n",
    b"1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3d08f9\r\n",
    # As nginx sends by default.
    b"1.0\r\nHost: x\r\nConnection: close\r\nContent-Length: 4000000\r\n\r\n",
)


@pytest.mark.parametrize("target", [b"decisions?x=1", b"decisions/batch", b"nothing"])
@pytest.mark.parametrize("head", LAST)
def test_early_refusal_of_the_last_request_reaches_a_caller_that_reads_after_sending(
    service: Running, target: bytes, head: bytes
) -> None:
    with connected(service.url) as connection:
        connection.sendall(b"POST /v1/%b HTTP/%b" % (target, head))
        time.sleep(0.1)
        connection.sendall(bytes(3_999_993) + b"\r\n0\r\n\r\n")
        answer = read_to_end(connection)
    assert answer[9:12] in (b"400", b"404", b"413")
    assert answer.endswith(b"}")


def test_refusal_of_a_malformed_request_reaches_a_caller_that_sends_its_body_slowly(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.http.uvicorn_adapter.closing.CLOSE_SECONDS", 0.8)
    with connected(service.url) as connection:
        connection.sendall(b"POST /v1/trials HTTP/1.1\r\nHost: x\r\nCookie: %b\r\n\r\n" % (b"x" * 20_000))
        for _ in range(20):
            time.sleep(0.1)
            connection.sendall(WHITE)
        assert read_to_end(connection).startswith(b"HTTP/1.1 431 ")


def test_refusal_of_a_slow_body_reaches_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.request_body.GRACE_SECONDS", 0.2)
    with running_service(min_body_rate=10_000_000) as service, connected(service.url) as connection:
        connection.sendall(POST % 4_000_000 + WHITE)
        time.sleep(1)
        connection.sendall(bytes(4_000_000 - len(WHITE)))
        assert read_to_end(connection).startswith(b"HTTP/1.1 408 ")


def test_connections_whose_refused_bodies_do_not_come_are_displaced() -> None:
    with running_service(max_connections=4) as service, ExitStack() as stack:
        for _ in range(8):
            connection = stack.enter_context(connected(service.url))
            connection.sendall(b"PUT" + (POST % 10**9).removeprefix(b"POST"))
            assert read_head(connection).startswith(b"HTTP/1.1 405 ")
        assert send(service.url, PROBE).status == 200


@pytest.mark.parametrize("last", [b"", b"Connection: close\r\n"])
def test_malformed_rest_of_a_refused_body_gets_no_second_answer(
    service: Running, caplog: pytest.LogCaptureFixture, last: bytes
) -> None:
    with caplog.at_level(logging.ERROR), connected(service.url) as connection:
        connection.sendall(CHUNKED % last)
        answer = read_head(connection)
        connection.sendall(b"cde\r\nno length\r\n")
        answer += read_to_end(connection)
        assert send(service.url, PROBE).status == 200  # The bytes before it have been handled by then.
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not caplog.messages


def test_connection_idles_after_the_rest_of_a_refused_body(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.uvicorn_adapter.protocol.HEAD_SECONDS", 0.2)
    for head, rest in ((CHUNKED % b"", b"cde\r\n0\r\n\r\n"), ((POST % 5).replace(b"decisions", b"nothing"), b"abcde")):
        with connected(service.url) as connection:
            connection.sendall(head)
            assert read_head(connection).startswith(b"HTTP/1.1 404 ")
            connection.sendall(rest)
            connection.settimeout(1)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            connection.sendall(PROBE)
            assert read_head(connection).startswith(b"HTTP/1.1 200 ")


def test_caller_that_does_not_stop_sending_after_a_refusal_delays_no_shutdown() -> None:
    def keep_sending(connection: socket.socket) -> None:
        try:
            while True:
                connection.sendall(b"x")
                time.sleep(0.1)
        except OSError:
            ended.set()

    ended = threading.Event()
    with running_service() as service, connected(service.url) as connection:
        connection.sendall((CHUNKED % b"").replace(b"nothing", b"decisions") + b"cde\r\nno length\r\n")
        assert read_head(connection).startswith(b"HTTP/1.1 400 ")
        threading.Thread(target=keep_sending, args=(connection,), daemon=True).start()
        service.server.should_exit = True
        assert ended.wait(5)
