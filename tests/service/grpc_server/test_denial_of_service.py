"""Callers that write frames by hand: bombs, floods and unread answers cost little and leave the port to others."""

import re
import resource
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from socket import socket

import grpc
import pytest

from service.grpc_server import service as service_module
from tests.service.grpc_server.calls import (
    Caller,
    Refused,
    address,
    calling,
    encoded,
    path,
    pixels_request,
    read_answer,
)
from tests.service.grpc_server.frames import DATA, HEADERS, RST_STREAM, call, connected, data, frame, read_frames
from tests.support.servers import Running, running_service, wait_until

REQUEST = encoded(pixels_request())
INFER = path("ModelInfer")
LIVE = path("ServerLive")
CANCEL = struct.pack(">I", 8)
CALLS = 4000


@pytest.fixture
def served() -> Iterator[Running]:
    with running_service(grpc_port=0, grpc_max_message_bytes=2**20) as running:
        yield running
        wait_until(lambda: running.inflight == 0 and running.runtime.admission.bytes == 0)


@pytest.fixture
def caller(served: Running) -> Iterator[Caller]:
    with calling(served) as made:
        yield made


def stream(index: int) -> int:
    """The number of a connection's call."""
    return 2 * index + 1


def envelope(message: bytes, *, size: int | None = None, compressed: bool = False) -> bytes:
    """A message with its length, as gRPC sends it."""
    return struct.pack(">BI", compressed, len(message) if size is None else size) + message


def wait_for_frame(connection: socket, kind: int, *, count: int = 1) -> bytes:
    """Read until `count` frames of a kind have come; return the last one's payload."""
    for found, _, _, payload in read_frames(connection):
        count -= found == kind
        if not count:
            return payload
    raise AssertionError("the connection ended before")


def peak_bytes() -> int:
    """The largest memory of this process since `/proc/self/clear_refs` was written."""
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return 1024 * int(kilobytes)


def test_a_compression_bomb_is_refused_before_it_is_unpacked(served: Running, caller: Caller) -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = deflate.compress(b"") + deflate.flush(zlib.Z_FULL_FLUSH)
    # A block that needs none before it: a thousand of them are 1 GiB.
    block = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    bomb = head + block * 900
    assert len(bomb) < 2**20
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_bytes()
    with connected(address(served)) as connection:
        connection.sendall(call(INFER, 1, grpc_encoding="gzip") + data(envelope(bomb, compressed=True), 1))
        assert b"body_too_large" in wait_for_frame(connection, HEADERS)
    assert peak_bytes() - before < 100 * 2**20
    read_answer(caller.ask(REQUEST))


@pytest.mark.parametrize("name", ["ModelInfer", "ModelStreamInfer"])
def test_a_message_that_cannot_be_unpacked_logs_no_error(
    served: Running, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    message = envelope(b"abc", compressed=True)
    with connected(address(served)) as connection:
        for index in range(8):
            connection.sendall(call(path(name), stream(index), grpc_encoding="gzip"))
            time.sleep(0.01)  # In one packet with its call, grpc refuses it before the call is answered.
            connection.sendall(data(message, stream(index)))
            wait_for_frame(connection, HEADERS)
    wait_until(lambda: served.inflight == 0)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_cancelled_calls_release_their_permits(served: Running, caller: Caller) -> None:
    with connected(address(served)) as connection:
        for index in range(CALLS):
            connection.sendall(call(INFER, stream(index)) + frame(RST_STREAM, CANCEL, stream=stream(index)))
        assert served.client.get("/livez").status_code == 200
        wait_until(lambda: served.inflight == 0)
        read_answer(caller.ask(REQUEST))


def test_concurrent_calls_on_one_connection_are_bounded(served: Running, caller: Caller) -> None:
    unfinished = envelope(b"", size=16)
    with connected(address(served)) as connection:
        for index in range(CALLS):
            connection.sendall(call(INFER, stream(index)) + data(unfinished, stream(index), ended=False))
        # The others are refused at once.
        wait_for_frame(connection, RST_STREAM, count=CALLS - 128)
        # gRPC refuses them in threads of its own, perhaps before the service has begun one of those that it admits.
        wait_until(lambda: served.inflight > 0)
        assert served.inflight <= 128
        assert served.client.get("/livez").status_code == 200
        with connected(address(served), source="127.0.0.2") as other:
            other.sendall(call(INFER, 1) + data(envelope(REQUEST), 1))
            assert b"confident" in wait_for_frame(other, DATA)
    wait_until(lambda: served.inflight == 0)
    read_answer(caller.ask(REQUEST))


def test_unread_responses_count_towards_the_callers_share() -> None:
    with running_service(grpc_port=0, max_connections=8) as service:
        with connected(address(service), window=0) as connection:
            connection.sendall(b"".join(call(LIVE, stream(index)) for index in range(8)))
            wait_for_frame(connection, RST_STREAM, count=4)
            with connected(address(service), source="127.0.0.2") as other:
                other.sendall(call(LIVE, 1))
                wait_for_frame(other, DATA)
        assert service.metric("lensgate_shed_total", reason="calls") == 4


def test_unread_responses_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "WRITE_SECONDS", 0.1)
    with (
        running_service(grpc_port=0, max_connections=8) as service,
        connected(address(service), window=0) as connection,
    ):
        begun = index = 0
        while begun < 3 * 4:
            connection.sendall(call(LIVE, stream(index)))
            begun += b"overloaded" not in wait_for_frame(connection, HEADERS)
            index += 1


def test_metadata_has_the_limit_of_headers(caller: Caller) -> None:
    answer = caller.ask(REQUEST, metadata=[("x-long", "y" * 2**20)])
    assert isinstance(answer, Refused)
    assert answer.status is grpc.StatusCode.RESOURCE_EXHAUSTED
    read_answer(caller.ask(REQUEST))


def test_the_ports_share_the_file_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (556, 556))
    with running_service(grpc_port=0, metrics_port=0, max_connections=1000) as service:
        assert service.runtime.connections == 100
