"""The share of one caller whose bodies are in transit, and the minimum rate of a body."""

import contextlib
import json
import math
import re
import socket
import time
import weakref
from contextlib import ExitStack
from functools import partial

import pytest
from starlette.types import Scope

from service.access.principal import UNRESTRICTED, Principal
from service.errors import Overloaded
from service.http import request_body as body
from service.http.caller import name_caller
from service.http.request_body import Pace
from service.http.scope_state import request_state
from service.inference.admission import Admission
from service.inference.caller_shares import Shares
from tests.service.streams.uploads import TAR_TYPE, member
from tests.support.attacks import connected, read_all, read_head
from tests.support.images import encode, flat
from tests.support.servers import Running, running_service, wait_until

WHITE = encode(flat(255))
ATTACKER, HONEST = "127.0.0.1", "127.0.0.2"


def head(length: int) -> bytes:
    return b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length


def post(service: Running, source: str) -> int:
    with connected(service.url, source=source) as connection:
        connection.sendall(head(len(WHITE)) + WHITE)
        return int(read_head(connection).split()[1])


def test_a_caller_holds_a_share_until_its_bodies_have_come() -> None:
    door = Admission(max_images=4, max_bytes=100, max_body_bytes=50, predicted_wait=lambda: 0.0, share=0.5)
    first, second = door.admit(20, 1.0, caller="a"), door.admit(20, 1.0, caller="a")
    with pytest.raises(Overloaded, match="LENSGATE_MAX_SHARE_PER_CALLER") as refused:
        door.admit(1, 1.0, caller="a")
    assert refused.value.reason == "images"
    door.admit(1, 1.0, caller="b").leave()
    first.complete()
    with pytest.raises(Overloaded) as refused:
        door.admit(40, 1.0, caller="a")
    assert refused.value.reason == "bytes"
    door.admit(30, 1.0, caller="a").leave()
    for permit in (first, second):
        permit.leave()
    assert (door.images, door.bytes) == (0, 0)
    door.admit(50, 1.0, caller="a").leave()


def test_one_body_alone_may_exceed_the_share_also_where_it_comes_in_pieces() -> None:
    door = Admission(max_images=4, max_bytes=100, max_body_bytes=90, predicted_wait=lambda: 0.0, share=0.5)
    with door.admit(None, 1.0, caller="a") as permit:
        for _ in range(9):
            permit.receive(10)
        with pytest.raises(Overloaded):
            door.admit(5, 1.0, caller="a")
        permit.complete()
        door.admit(5, 1.0, caller="a").leave()


def test_caller_with_its_share_of_streams_is_refused_and_others_are_not() -> None:
    door = Admission(max_images=4, max_bytes=9, max_body_bytes=9, predicted_wait=lambda: 0.0, max_streams=2, share=0.5)
    with door.stream("a"):
        with pytest.raises(Overloaded), door.stream("a"):
            pass
        with door.stream("b"):
            pass
    with door.stream("a"):
        pass


@pytest.mark.parametrize(("images", "size"), [(2, 1), (9, 5)], ids=["images", "bytes"])
def test_a_refused_request_leaves_nothing_of_its_callers_share_taken(images: int, size: int) -> None:
    door = Admission(
        max_images=images, max_bytes=10, max_body_bytes=9, predicted_wait=lambda: 0.0, max_streams=2, share=0.5
    )
    with door.admit(size, 1.0, caller="b"), door.admit(size, 1.0, caller="c"), pytest.raises(Overloaded):
        door.admit(size, 1.0, caller="a")
    with door.admit(size, 1.0, caller="a"):
        assert (door.images, door.bytes) == (1, size)


def test_released_shares_are_removed() -> None:
    class Caller(str):
        """A name that tells whether it is still held."""

    shares, caller = Shares(0.5, {"images": 10}), Caller("a")
    held = weakref.ref(caller)
    assert shares.take(caller, "images", 5)
    del caller
    assert held() is not None
    shares.give_back("a", "images", 5)
    assert held() is None


def scope_of(client: tuple[str, int] | None, principal: Principal | None = None) -> Scope:
    scope: Scope = {"client": client}
    request_state(scope).principal = principal
    return scope


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("", "", True),
    ],
)
def test_a_caller_is_its_address(one: str, other: str, *, is_same: bool) -> None:
    names = [name_caller(scope_of((host, 1), UNRESTRICTED)) for host in (one, other)]
    assert (names[0] == names[1]) is is_same


def test_a_caller_is_its_token_wherever_it_comes_from() -> None:
    principal = Principal("gen", frozenset())
    assert {name_caller(scope_of((host, 1), principal)) for host in ("192.0.2.1", "::1")} == {"token gen"}
    assert name_caller(scope_of(None)) == "address "


def test_a_pace_counts_what_came_and_how_long_was_waited() -> None:
    pace = Pace(1000, 5.0)
    pace.count(3.0, 0)
    assert pace.left == 2.0
    pace.count(1.0, 2000)
    assert pace.left == 3.0
    pace.count(0.0, 10**9)
    assert pace.left == 5.0
    free = Pace(0, 5.0)
    free.count(100.0, 0)
    assert free.left == math.inf


@pytest.mark.parametrize(("announced", "sent"), [(1, b""), (2, b"x")])
def test_announced_bodies_do_not_block_other_callers(announced: int, sent: bytes) -> None:
    with running_service(max_inflight_images=16) as service, ExitStack() as stack:
        attack = [stack.enter_context(connected(service.url, source=ATTACKER)) for _ in range(16)]
        for connection in attack:
            connection.sendall(head(announced) + sent)
        wait_until(lambda: service.metric("lensgate_shed_total", reason="images") == 8)
        assert service.inflight == 8
        assert [post(service, HONEST) for _ in range(5)] == [200] * 5
        assert post(service, ATTACKER) == 429


def test_announced_large_bodies_do_not_block_other_callers() -> None:
    with running_service(max_body_bytes=1000_000, max_inflight_bytes=8000_000) as service, ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connected(service.url)).sendall(head(1000_000))
        wait_until(lambda: service.metric("lensgate_shed_total", reason="bytes") == 4)
        assert post(service, HONEST) == 200


def test_received_images_of_one_caller_may_fill_the_capacity() -> None:
    # One image a batch, so that exactly one of the 16 is with the stalled model and 15 are queued.
    with running_service(max_inflight_images=16, max_batch_size=1) as service, ExitStack() as stack:
        service.scorer.go.clear()
        callers = [stack.enter_context(connected(service.url)) for _ in range(16)]
        for count, connection in enumerate(callers, 1):
            connection.sendall(head(len(WHITE)) + WHITE)
            wait_until(partial(lambda most: service.inflight == most, count))
        wait_until(lambda: service.queued >= 15)
        service.scorer.go.set()
        assert [read_head(connection)[:12] for connection in callers] == [b"HTTP/1.1 200"] * 16


def trickle(connection: socket.socket, piece: bytes, *, seconds: float) -> None:
    until = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while time.monotonic() < until:
            connection.sendall(piece)
            time.sleep(0.05)


@pytest.mark.parametrize("framing", [b"Content-Length: 100000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_slow_body_is_408(monkeypatch: pytest.MonkeyPatch, framing: bytes) -> None:
    monkeypatch.setattr(body, "GRACE_SECONDS", 0.4)
    with running_service() as service, connected(service.url) as connection:
        connection.sendall(b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\n" + framing)
        trickle(connection, b"1\r\nx\r\n", seconds=1.0)
        answer = read_head(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        wait_until(lambda: service.inflight == 0)
        assert service.metric("lensgate_inflight_bytes") == 0


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_on_a_slow_link_is_answered(monkeypatch: pytest.MonkeyPatch, *, is_chunked: bool) -> None:
    monkeypatch.setattr(body, "GRACE_SECONDS", 0.4)
    sent = WHITE + bytes(20_000)
    with running_service(min_body_rate=5_000) as service, connected(service.url) as connection:
        framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(sent)
        connection.sendall(b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n")
        for start in range(0, len(sent), 1000):
            part = sent[start : start + 1000]
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), part) if is_chunked else part)
            time.sleep(0.07)
        connection.sendall(b"0\r\n\r\n" if is_chunked else b"")
        assert read_head(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_that_arrives_while_the_process_is_paused_is_answered(
    monkeypatch: pytest.MonkeyPatch, *, is_chunked: bool
) -> None:
    monkeypatch.setattr(body, "GRACE_SECONDS", 0.3)
    framing = b"Transfer-Encoding: chunked\r\n\r\n" if is_chunked else b"Content-Length: %d\r\n\r\n" % len(WHITE)
    with running_service() as service, connected(service.url) as connection:
        connection.sendall(b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\n" + framing)
        connection.sendall(b"1\r\n%b\r\n" % WHITE[:1] if is_chunked else WHITE[:1])
        wait_until(lambda: service.inflight == 1)
        time.sleep(0.05)  # The first byte is being read when the pause begins.
        loop = service.server.servers[0].get_loop()
        loop.call_soon_threadsafe(time.sleep, 0.5)
        rest = WHITE[1:]
        connection.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest) if is_chunked else rest)
        assert read_head(connection).startswith(b"HTTP/1.1 200 ")


def test_slow_batch_upload_ends_with_an_error_line() -> None:
    with running_service(timeout_ms=500) as service, connected(service.url) as connection:
        kind = f"Content-Type: {TAR_TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        connection.sendall(b"POST /v1/decisions/batch HTTP/1.1\r\nHost: x\r\n" + kind)
        large = member("notes.txt", bytes(10**6))[:600]
        connection.sendall(b"%x\r\n%b\r\n" % (len(large), large))
        trickle(connection, b"1\r\nx\r\n", seconds=1.5)
        lines = [json.loads(line) for line in re.findall(rb"{.*}", read_all(connection))]
        assert [line.get("error", {}).get("code") for line in lines] == ["deadline_exceeded", None]
        wait_until(lambda: service.runtime.admission.streams == 0)


def test_batches_of_one_caller_leave_streams_to_others() -> None:
    with running_service(max_streams=4) as service, ExitStack() as stack:
        request = f"POST /v1/decisions/batch HTTP/1.1\r\nHost: x\r\nContent-Type: {TAR_TYPE}\r\n".encode()
        for _ in range(4):
            connection = stack.enter_context(connected(service.url, source=ATTACKER))
            connection.sendall(request + b"Content-Length: 1000000\r\n\r\nx")
        wait_until(lambda: service.metric("lensgate_shed_total", reason="streams") == 2)
        honest = stack.enter_context(connected(service.url, source=HONEST))
        upload = member("a.png", WHITE) + bytes(1024)
        honest.sendall(request + b"Content-Length: %d\r\n\r\n" % len(upload) + upload)
        honest.shutdown(socket.SHUT_WR)  # As `nc -N` does.
        answer = read_all(honest)
        assert b'"accept":1' in answer
