"""Connections that could exhaust the service: floods of requests, idle connections, and unread answers."""

import asyncio
import gc
import os
import resource
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from service.http import connections
from service.http import tls_handshake as handshake
from service.http.connections import Connections
from service.http.scope_state import RequestState
from service.http.uvicorn_adapter.protocol import GateProtocol
from service.metrics.decisions import REFUSAL_REASONS
from tests.service.access.certificates import make_certificate
from tests.support.attacks import connected, read_all, read_head, send
from tests.support.images import encode, flat
from tests.support.models import brightness_model, write_model
from tests.support.servers import TIMEOUT, Running, running_process, running_service, wait_until

WHITE = encode(flat(255))
REFUSALS = "lensgate_http_refusals_total"
PROBE = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running_service(metrics_port=0) as running:
        yield running


def test_pipelined_requests_are_answered_one_at_a_time(service: Running) -> None:
    for url in (service.url, service.server.metrics_url or ""):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with ExitStack() as stack:
            flooding = [stack.enter_context(connected(url)) for _ in range(10)]
            for connection in flooding:
                connection.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    connection.sendall(PROBE * 1_000_000)
            began = time.monotonic()
            assert httpx.get(f"{service.server.metrics_url}/livez", trust_env=False).status_code == 200
            assert time.monotonic() - began < 5
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("piece", [1, 7, 10**9])
def test_requests_of_every_framing_are_told_apart_in_one_stream(service: Running, piece: int) -> None:
    chunked = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    parts = b"".join(b"%x;x=y\r\n%b\r\n" % (len(part), part) for part in (WHITE[:20], WHITE[20:]))
    trick = b"\r\n\r\nGET /livez HTTP/1.1\r\n\r\n"
    sent = (
        POST % len(WHITE) + WHITE
        + chunked + parts + b"0\r\nAuthorization: none\r\n\r\n"
        + POST % len(trick) + trick
        + chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(trick), trick)
        + b"GET /v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )  # fmt: skip
    with connected(service.url) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), piece):
            connection.sendall(sent[start : start + piece])
        answers = read_all(connection)
    assert [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]] == [200, 200, 422, 422, 200]


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: " + b"0" * 4300,
        b"Content-Length: " + b"9" * 4301,
        b"Content-Length: 0000000000000001",
        b"Content-Length: 18446744073709551615",
        b"Content-Length: +1",
        b"Content-Length: -1",
        b"Content-Length: 1_000",
        b"Content-Length: \xd9\xa1",
        b"Content-Length: \xb9",
        b"Content-Length: 1, 1",
        b"Content-Length: 0x1",
        b"Content-Length:",
        b"Content-Length: 1\r\nContent-Length: 1",
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 1",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: chunked;q=1",
        b'Transfer-Encoding: "chunked"',
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:",
        b"A: b\n",
        b"A: b\r\n c",
        b"A : b",
        b": b",
        b"A: b\0c",
        b"A\0: b",
        b"A: b\rc",
    ],
)
def test_framing_that_two_servers_could_read_differently_is_a_400(service: Running, headers: bytes) -> None:
    found = send(service.url, b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n")
    assert found.status == 400, found
    assert b"malformed_request" in found.answer or b"application/problem+json" in found.answer
    assert b"connection: close" in found.answer


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.1\nHost: x", b"GET /\r\nHost: x", b"PRI * HTTP/2.0\r\n\r\nSM", b"GET / HTTP/3.0"]
)
def test_other_http_versions_are_400(service: Running, line: bytes) -> None:
    assert send(service.url, line + b"\r\n\r\n").status == 400


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (b"GET / HTTP/3.0\r\n\r\n", "malformed_request"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 70_000 + b"\r\n\r\n", "header_too_large"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n", "expectation_failed"),
    ],
)
def test_a_refusal_before_the_app_is_counted(service: Running, request_: bytes, reason: str) -> None:
    metrics = service.runtime.metrics
    for url in (service.url, service.server.metrics_url or ""):
        before = {name: metrics.registry.get_sample_value(REFUSALS, {"reason": name}) for name in REFUSAL_REASONS}
        assert send(url, request_).status >= 400
        after = {name: metrics.registry.get_sample_value(REFUSALS, {"reason": name}) for name in REFUSAL_REASONS}
        assert after == {**before, reason: (before[reason] or 0) + 1}


def test_chunked_http_1_0_request_is_400(service: Running) -> None:
    head = b"POST /v1/decisions HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert send(service.url, head).status == 400


def test_an_expectation_that_cannot_be_met_is_a_417(service: Running) -> None:
    found = send(service.url, b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 9\r\n\r\n")
    assert (found.status, b"expectation_failed" in found.answer) == (417, True)


def test_idle_connections_outlive_those_of_load_balancers(service: Running) -> None:
    longest = 600  # Google Cloud; Azure has 120, Heroku 90, AWS 60, nginx 60.
    assert service.server.config.timeout_keep_alive > longest


def test_an_http_1_0_caller_gets_no_interim_answer(service: Running) -> None:
    head = b"POST /v1/decisions HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(WHITE)
    assert send(service.url, head + WHITE).status == 200


def test_content_length_with_surrounding_blanks_is_accepted(service: Running) -> None:
    head = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: \t%d \t\r\n\r\n" % len(WHITE)
    assert send(service.url, head + WHITE).status == 200


@pytest.mark.parametrize("is_held_up", [False, True])
def test_a_caller_that_shuts_down_its_side_is_answered(service: Running, *, is_held_up: bool) -> None:
    if is_held_up:
        service.scorer.go.clear()
    with connected(service.url) as connection:
        connection.sendall(POST % len(WHITE) + WHITE)
        connection.shutdown(socket.SHUT_WR)
        if is_held_up:  # It is asked whether it still listens, which an interim answer does.
            assert read_head(connection) == b"HTTP/1.1 100 Continue\r\n\r\n"
            service.scorer.go.set()
        # On a busy machine it is asked otherwise too.
        answer = read_all(connection).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    # Without a hold-up the answer may be sent before the end arrives.
    assert b"connection: close" in answer or not is_held_up
    assert b'"glasses_probability"' in answer


@pytest.mark.parametrize("rest", [b"", b"nonsense\r\n\r\n", b"HEAD /openapi.json HT"])
def test_answers_without_a_body_are_sent_before_the_connection_ends(service: Running, rest: bytes) -> None:
    with connected(service.url) as connection:
        connection.sendall(b"HEAD /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 2 + rest)
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
    assert [line[9:12] for line in answer.splitlines() if line.startswith(b"HTTP/")] == [b"200"] * 2


@contextmanager
def new_objects_alone() -> Iterator[None]:
    """The garbage collector knows those alone that are made inside; to look through all others takes a second."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def test_a_request_leaves_no_reference_cycle(service: Running) -> None:
    """Cycles would keep its headers, and an error with its traceback, until a garbage collection."""
    with connected(service.url) as connection:
        connection.sendall(PROBE)
        read_head(connection)
        with new_objects_alone():
            gc.disable()
            try:
                for _ in range(20):
                    connection.sendall(PROBE)
                    read_head(connection)
                wait_until(lambda: sum(isinstance(one, RequestState) for one in gc.get_objects()) <= 2)
            finally:
                gc.enable()


def test_a_connection_that_was_reset_is_freed_before_its_idle_time_ends(service: Running) -> None:
    def count() -> int:
        gc.collect()
        return sum(isinstance(one, GateProtocol) for one in gc.get_objects())

    with new_objects_alone():
        for _ in range(20):
            with connected(service.url) as connection:
                connection.sendall(PROBE)
                read_head(connection)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until(lambda: count() <= 2)


def test_all_requests_before_a_shut_down_are_answered(service: Running) -> None:
    with connected(service.url) as connection:
        connection.sendall((POST % len(WHITE) + WHITE) * 3 + PROBE)
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1 ") == 4


@pytest.fixture
def short_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WRITE_SECONDS", 1.0)
    monkeypatch.setattr(connections, "SWEEP_SECONDS", 0.2)


@pytest.mark.parametrize("path", ["/static/api.js", "/openapi.json", "/v2/models/glasses"])
def test_a_caller_that_reads_no_answers_is_cut_off(short_writes: None, path: str) -> None:  # noqa: ARG001
    with running_service() as service, connected(service.url, receive_buffer=4096) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        connection.settimeout(2)
        with pytest.raises(OSError):
            for _ in range(100):
                connection.sendall(request * 10_000)
        wait_until(lambda: not service.server.server_state.connections)


def test_a_caller_that_reads_slowly_gets_all_of_it(short_writes: None) -> None:  # noqa: ARG001
    with running_service() as service, connected(service.url, receive_buffer=4096) as connection:
        length = len(service.client.get("/openapi.json").content)
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        time.sleep(0.5)
        assert len(read_all(connection)) > length


def test_silent_handshake_times_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(handshake, "HANDSHAKE_SECONDS", 0.5)
    files = make_certificate(tmp_path)
    with (
        running_service(tls_certificate=files.certificate, tls_key=files.key) as service,
        connected(url := service.url) as silent,
        connected(url) as slow,
    ):
        slow.sendall(b"\x16\x03\x01")
        assert read_all(silent) == b""
        assert read_all(slow) == b""
        assert httpx.get(f"{url}/livez", verify=files.trust(), trust_env=False).status_code == 200


def test_excess_handshakes_displace_the_oldest(tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    with running_service(tls_certificate=files.certificate, tls_key=files.key) as service, ExitStack() as stack:
        url = service.url
        first, *_ = [stack.enter_context(connected(url)) for _ in range(150)]
        assert httpx.get(f"{url}/livez", verify=files.trust(), trust_env=False, timeout=TIMEOUT).status_code == 200
        assert read_all(first) == b""
        plain = send(url.replace("https", "http"), PROBE)
        assert plain.status == 400
        registry = service.runtime.metrics.registry
        assert (registry.get_sample_value(REFUSALS, {"reason": "handshakes"}) or 0) >= 150 - connections.MAX_HANDSHAKES
        assert registry.get_sample_value(REFUSALS, {"reason": "malformed_request"}) == 1


def test_connection_beyond_the_limit_displaces_an_idle_one() -> None:
    with running_service(max_connections=8) as service, ExitStack() as stack:
        kept = stack.enter_context(connected(service.url))
        kept.sendall(PROBE)
        assert read_head(kept).startswith(b"HTTP/1.1 200 ")
        silent = [stack.enter_context(connected(service.url)) for _ in range(40)]
        began = time.monotonic()
        assert send(service.url, PROBE).status == 200
        assert time.monotonic() - began < 1
        assert read_all(silent[0]) == b""
        # It has sent a request before: those that have not go first.
        kept.sendall(PROBE)
        assert read_head(kept).startswith(b"HTTP/1.1 200 ")
        # Of 42 connections eight were open at a time.
        assert service.runtime.metrics.registry.get_sample_value(REFUSALS, {"reason": "connections"}) == 34


class FakeConnection:
    """Where only its presence counts."""

    class Transport:
        def __init__(self) -> None:
            self.is_aborted = False

        def abort(self) -> None:
            self.is_aborted = True

        def get_write_buffer_size(self) -> int:
            return 0

    def __init__(self) -> None:
        self.transport = self.Transport()


def test_new_connection_is_closed_if_all_others_are_busy() -> None:
    async def run() -> None:
        refused: list[str] = []
        door = Connections(2, refused.append)
        first, second, third = FakeConnection(), FakeConnection(), FakeConnection()
        for connection in (first, second):
            assert door.enter(connection)  # type: ignore[arg-type]
            door.begin(connection)  # type: ignore[arg-type]
        assert not door.enter(third)  # type: ignore[arg-type]
        door.rest(second)  # type: ignore[arg-type]
        assert door.enter(third)  # type: ignore[arg-type]
        assert (first.transport.is_aborted, second.transport.is_aborted) == (False, True)
        assert refused == ["connections"] * 2
        assert len(door) == 2
        door.leave(first)  # type: ignore[arg-type]
        door.leave(third)  # type: ignore[arg-type]
        assert len(door) == 0

    asyncio.run(run())


def test_few_file_descriptors_neither_end_the_process_nor_keep_it_busy(tmp_path: Path) -> None:
    write_model(tmp_path / "models", brightness_model())
    environment = {**os.environ, "LENSGATE_MODELS": str(tmp_path / "models")}
    with running_process(tmp_path / "log", environment) as process, ExitStack() as stack:
        resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, (40, 40))
        for _ in range(100):
            stack.enter_context(connected(process.url))
        used = cpu_seconds(process.process.pid)
        time.sleep(2)
        assert cpu_seconds(process.process.pid) - used < 1
        stack.close()
        wait_until(lambda: send(process.url, PROBE).status == 200, timeout=TIMEOUT)
        assert process.process.poll() is None


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
