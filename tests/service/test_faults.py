"""Faults around the gate: the caller's answer, the metrics, and the next request, which is served."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from bench.serving.processes import free_port
from gate.errors import ScoringError
from gate.pixels import Pixels
from gate.scorer import Scores
from service.http.uvicorn_adapter import protocol
from tests.support.images import encode, flat
from tests.support.models import brightness_model, write_model
from tests.support.servers import TIMEOUT, Process, Running, running_process, running_service, wait_until

WHITE = encode(flat(255))
HEAD = f"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(WHITE)}\r\n\r\n".encode()


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT) as connection:
        yield connection


def received(connection: socket.socket) -> bytes:
    """Receive until the other side closes or a JSON object is complete."""
    answer = b""
    while b"}" not in answer and (part := connection.recv(65536)):
        answer += part
    return answer


def send_in_pieces(connection: socket.socket, sent: bytes, piece: int) -> None:
    for start in range(0, len(sent), piece):
        connection.sendall(sent[start : start + piece])


def assert_serves(service: Running) -> None:
    answer = service.post(WHITE)
    assert (answer.status_code, answer.json()["glasses_probability"]) == (200, 1.0)
    assert (service.inflight, service.metric("lensgate_inflight_bytes")) == (0, 0)


def too_few(images: Pixels) -> Scores:
    return Scores(np.zeros(len(images) - 1, np.float32), None)


def nonsense(_: Pixels) -> Scores:
    raise ScoringError("the model's glasses_probability is not 1 finite numbers")


def broken(_: Pixels) -> Scores:
    raise RuntimeError("a secret detail")


@pytest.mark.parametrize("fault", [too_few, nonsense, broken])
def test_a_model_that_fails_always_is_a_500_until_it_recovers(
    service: Running, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Pixels], Scores]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(service.scorer, "score", fault)
        answers = [service.post(WHITE) for _ in range(3)]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(500, "internal")] * 3
    assert all("secret" not in answer.text and "finite" not in answer.text for answer in answers)
    assert service.metric("lensgate_requests_total", route="/v1/decisions", status="500") == 3
    assert service.metric("lensgate_decisions_total", decision="accept", label="glasses", reason="confident") == 0
    assert service.client.get("/readyz").status_code == 200
    assert_serves(service)


def test_a_model_that_fails_once_is_not_noticed(service: Running) -> None:
    faults: Iterator[Exception] = iter([RuntimeError("a transient fault")])
    service.scorer.fault = lambda _: next(faults, None)
    assert_serves(service)
    assert service.scorer.batches == [1, 1]


def test_bytes_after_the_announced_body_are_no_part_of_it(service: Running) -> None:
    with connected(service.url) as connection:
        connection.sendall(HEAD + WHITE + b"and some more\r\n\r\n")
        answer = received(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"glasses_probability":1.0' in answer
        assert connection.recv(1) == b""
    assert_serves(service)


def test_body_shorter_than_announced_times_out() -> None:
    with running_service(timeout_ms=200) as service, connected(service.url) as connection:
        connection.sendall(HEAD + WHITE[:-1])
        assert received(connection).startswith(b"HTTP/1.1 504 ")
        assert service.metric("lensgate_requests_total", route="/v1/decisions", status="504") == 1
        assert_serves(service)


def test_slow_bodies_hold_no_decode_thread_and_time_out() -> None:
    with running_service(timeout_ms=1500, decode_threads=1) as service, ExitStack() as stack:
        slow = [stack.enter_context(connected(service.url)) for _ in range(8)]
        for connection in slow:
            connection.sendall(HEAD)
        wait_until(lambda: service.inflight == 8)
        for byte in WHITE[:3]:
            for connection in slow:
                connection.sendall(bytes([byte]))
            assert service.post(WHITE).status_code == 200
        assert all(received(connection).startswith(b"HTTP/1.1 504 ") for connection in slow)
        assert service.metric("lensgate_decode_seconds_count") == 3
        assert_serves(service)


@pytest.mark.parametrize("sent", [b"", b"POST /v1/deci", b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nX-Slow"])
def test_incomplete_header_times_out(service: Running, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    with connected(service.url) as connection:
        connection.sendall(sent)
        assert connection.recv(1) == b""
    with connected(service.url) as connection:  # And so is one that begins a second request and leaves it there.
        connection.sendall(HEAD + WHITE)
        assert received(connection).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"POST /v1")
        assert connection.recv(1) == b""
    assert_serves(service)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["TLS", "half a line", "negative length", "length and chunks", "two lengths", "no chunk"],
)
def test_malformed_http_is_a_400_problem_and_closes_the_connection(service: Running, sent: bytes) -> None:
    with connected(service.url) as connection:
        connection.sendall(sent)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer
    assert b'"malformed_request"' in answer
    wait_until(lambda: service.inflight == 0)
    assert_serves(service)


def test_thousands_of_tiny_requests_release_all_capacity(service: Running) -> None:
    request = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(service.url)) for _ in range(20)]
        for _ in range(100):
            for connection in connections:
                connection.sendall(request)
            assert all(received(connection).startswith(b"HTTP/1.1 422 ") for connection in connections)
    assert service.metric("lensgate_image_errors_total", code="unsupported_image") == 2_000
    assert service.metric("lensgate_requests_total", route="/v1/decisions", status="422") == 2_000
    assert_serves(service)


def test_pipelined_requests_are_answered_in_order(service: Running) -> None:
    fifth = encode(flat(51))
    with connected(service.url) as connection:
        other = HEAD.replace(str(len(WHITE)).encode(), str(len(fifth)).encode())
        connection.sendall(HEAD + WHITE + other + fifth)
        answers = b""
        while answers.count(b"glasses_probability") < 2:
            answers += connection.recv(65536)
    assert answers.index(b'"glasses_probability":1.0') < answers.index(b'"glasses_probability":0.2')
    assert_serves(service)


@pytest.mark.parametrize("piece", [1, 1000, 70_000, 10**9])
def test_body_in_any_pieces_is_complete_and_so_is_the_next_request(service: Running, piece: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (256 if piece > 1 else 32, 256 if piece > 1 else 32, 3), np.uint8)
    bodies = [encode(noise), WHITE, encode(noise // 2), encode(noise // 4)]
    alone = [service.post(body).json()["glasses_probability"] for body in bodies]
    sent = b"".join(HEAD.replace(b"%d" % len(WHITE), b"%d" % len(body)) + body for body in bodies)
    with connected(service.url) as connection, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send_in_pieces, connection, sent, piece)
        answers = b""
        while answers.count(b'"model"') < len(bodies):
            answers += connection.recv(65536)
        sending.result(TIMEOUT)
    found = [float(part.partition(b",")[0]) for part in answers.split(b'"glasses_probability":')[1:]]
    assert found == alone
    assert_serves(service)


@pytest.mark.parametrize("piece", [1000, 10**9])
def test_refused_body_is_discarded_and_the_connection_stays_open(piece: int) -> None:
    with running_service(max_body_bytes=10_000) as service, connected(service.url) as connection:
        refused = HEAD.replace(b"%d" % len(WHITE), b"3000000")
        for _ in range(2):
            connection.sendall(refused)
            assert received(connection).startswith(b"HTTP/1.1 413 ")
            send_in_pieces(connection, bytes(3_000_000) + HEAD + WHITE, piece)
            assert received(connection).startswith(b"HTTP/1.1 200 ")
        assert_serves(service)


def test_body_abandoned_in_the_middle_closes_the_connection() -> None:
    with running_service(timeout_ms=200) as service, connected(service.url) as connection:
        connection.sendall(HEAD.replace(b"%d" % len(WHITE), b"1000000") + bytes(300_000))
        answer = received(connection)
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b"connection: close" in answer
        assert_serves(service)


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_a_clock_that_jumps_moves_no_deadline(service: Running, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    service.scorer.go.clear()
    with ThreadPoolExecutor(1) as pool:
        inside = pool.submit(service.post, WHITE)
        assert service.scorer.entered.wait(TIMEOUT)
        now, nanoseconds = time.time, time.time_ns
        monkeypatch.setattr(time, "time", lambda: now() + jump)
        monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + int(jump * 1e9))
        service.scorer.go.set()
        assert inside.result(TIMEOUT).status_code == 200
    assert service.metric("lensgate_queue_wait_seconds_sum") < TIMEOUT
    assert_serves(service)


@pytest.mark.parametrize("stage", ["body", "decode", "queue", "inference"])
def test_admitted_requests_are_answered_during_shutdown(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding = threading.Event()
    with running_service() as service, ThreadPoolExecutor(2) as pool, connected(service.url) as connection:
        if stage == "decode":
            hold_decodes(service, monkeypatch, decoding)
        service.scorer.go.clear()
        first = pool.submit(service.post, WHITE) if stage in ("queue", "inference") else None
        if first:
            assert service.scorer.entered.wait(TIMEOUT)
        connection.sendall(HEAD + (WHITE[:-1] if stage == "body" else WHITE if stage != "inference" else b""))
        wait_until(lambda: service.inflight == (2 if first else 1))
        if stage == "queue":
            wait_until(lambda: service.queued == 1)
        service.stop()
        decoding.set()
        service.scorer.go.set()
        connection.sendall({"body": WHITE[-1:], "inference": WHITE}.get(stage, b""))
        assert received(connection).startswith(b"HTTP/1.1 200 ")
        if first:
            assert first.result(TIMEOUT).status_code == 200
        service.thread.join(TIMEOUT)
        assert not service.thread.is_alive()


def hold_decodes(service: Running, monkeypatch: pytest.MonkeyPatch, go: threading.Event) -> None:
    run = service.runtime.decode_pool.run

    async def held(work: Callable[[Any], Any], given: Any, **options: Any) -> Any:
        return await run(lambda value: work(value) if go.wait(TIMEOUT) else None, given, **options)

    monkeypatch.setattr(service.runtime.decode_pool, "run", held)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    write_model(tmp_path / "models", brightness_model())
    return {**os.environ, "LENSGATE_MODELS": str(tmp_path / "models")}


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_under_load_loses_no_admitted_request(
    sent: signal.Signals, environment: dict[str, str], tmp_path: Path
) -> None:
    body = encode(flat(255, 512))
    answers: list[int] = []
    with running_process(tmp_path / "log", environment) as process, ThreadPoolExecutor(16) as pool:
        callers = [pool.submit(call_until_refused, process, body, answers) for _ in range(16)]
        wait_until(lambda: len(answers) > 100)
        process.process.send_signal(sent)
        lost = [caller.result(TIMEOUT) for caller in callers]
        assert process.process.wait(TIMEOUT) == 0
    assert not any(lost)
    assert set(answers) <= {200, 503}
    admitted = process.log.read_text().count('"status":200')
    assert answers.count(200) == admitted


def call_until_refused(process: Process, body: bytes, answers: list[int]) -> int:
    """POST over new connections until none is taken; returns how many answers broke off after they had begun."""
    broken_off = 0
    request = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    while True:
        try:
            with connected(process.url) as connection:
                connection.sendall(request + body)
                answer = received(connection)
        except OSError:
            return broken_off
        if not answer:
            return broken_off
        answers.append(int(answer[9:12]))
        broken_off += b"}" not in answer


@contextmanager
def quiet_process(environment: dict[str, str], log: str, *, files: int | None = None) -> Iterator[str]:
    """`lensgate serve` with its log in a file that may take none of it, and perhaps with few file descriptors."""
    port = free_port()
    command = [sys.executable, "-m", "lensgate", "serve", "--port", str(port)]

    def limit() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    with Path(log).open("wb") as sink:
        buffered = {name: value for name, value in environment.items() if name != "PYTHONUNBUFFERED"}
        process = subprocess.Popen(command, stderr=sink, env=buffered, preexec_fn=limit)  # noqa: PLW1509
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: process.poll() is not None or is_ready(url))
        yield url
    finally:
        process.terminate()
        assert process.wait(TIMEOUT) == 0


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_blocked_log_does_not_stop_the_service(environment: dict[str, str]) -> None:
    with quiet_process(environment, "/dev/full") as url:
        for _ in range(20):
            answer = httpx.post(f"{url}/v1/decisions", content=WHITE, trust_env=False)
            assert answer.status_code == 200


def test_service_recovers_from_exhausted_file_descriptors(environment: dict[str, str]) -> None:
    with quiet_process(environment, os.devnull, files=48) as url:
        with ExitStack() as stack:
            for _ in range(64):
                stack.enter_context(connected(url))
            time.sleep(0.2)
        wait_until(lambda: is_ready(url))
        assert httpx.post(f"{url}/v1/decisions", content=WHITE, trust_env=False, timeout=TIMEOUT).status_code == 200
