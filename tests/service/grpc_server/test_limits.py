"""Tokens, rates, capacity and time over gRPC: silent, slow and abandoned callers give back what they hold."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from service.errors import SettingsError
from service.grpc_server import stream as stream_module
from service.grpc_server.calls import Peer
from service.grpc_server.messages import (
    NOT_SERVING,
    SERVING,
    ModelStreamInferResponse,
    ServerLiveResponse,
    ServerReadyResponse,
)
from service.grpc_server.reading import ReadSlots
from service.http.ports import check_ports
from service.settings import Settings
from tests.service.access.keys import token_of, write_tokens
from tests.service.grpc_server.calls import Caller, Refused, calling, encoded, pixels_request, read_answer, refused
from tests.support.servers import TIMEOUT, Running, running_service, wait_until

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
CHECK = "/grpc.health.v1.Health/Check"
REQUEST = encoded(pixels_request())


class Silence:
    """Messages that do not come before `end`."""

    def __init__(self, *first: bytes) -> None:
        self._first = iter(first)
        self._over = threading.Event()

    def end(self) -> None:
        """Half-close."""
        self._over.set()

    def __iter__(self) -> Iterator[bytes]:
        yield from self._first
        self._over.wait(TIMEOUT)


@contextmanager
def serving(**settings: Any) -> Iterator[tuple[Running, Caller]]:
    with running_service(grpc_port=0, **settings) as service, calling(service) as caller:
        yield service, caller
        wait_until(lambda: service.inflight == 0 and service.runtime.admission.bytes == 0)


def check(answer: Any, status: grpc.StatusCode, code: str) -> Refused:
    assert isinstance(answer, Refused)
    assert (answer.status, answer.code) == (status, code), answer
    return answer


def as_caller(name: str) -> dict[str, Any]:
    return {"metadata": [("authorization", f"Bearer {token_of(name)}")]}


def test_tokens_scopes_and_rates_are_those_of_http(tmp_path: Path) -> None:
    entries = {
        "generator": 'scopes = ["decide"]',
        "reviewer": 'scopes = ["review"]',
        "slow": 'scopes = ["decide"]\nrequests_per_second = 0.01\nburst = 2',
    }
    with serving(tokens=write_tokens(tmp_path / "tokens.toml", entries)) as (service, caller):
        silence = Silence()
        # Before a message has arrived.
        check(caller.send(silence), grpc.StatusCode.UNAUTHENTICATED, "unauthorized")
        check(caller.send(silence, **as_caller("nobody")), grpc.StatusCode.UNAUTHENTICATED, "unauthorized")
        check(caller.send(silence, **as_caller("reviewer")), grpc.StatusCode.PERMISSION_DENIED, "forbidden")
        both = [*as_caller("nobody")["metadata"], *as_caller("generator")["metadata"]]
        check(caller.send(silence, metadata=both), grpc.StatusCode.INVALID_ARGUMENT, "malformed_request")
        silence.end()
        assert ServerLiveResponse.FromString(caller.ask(b"", method="ServerLive")).live
        assert caller.channel.unary_unary(CHECK)(b"", timeout=TIMEOUT) == SERVING
        check(caller.ask(b"", method="ServerMetadata"), grpc.StatusCode.UNAUTHENTICATED, "unauthorized")
        assert isinstance(caller.ask(b"", method="ServerMetadata", **as_caller("reviewer")), bytes)
        read_answer(caller.ask(REQUEST, **as_caller("generator")))
        # One rate for both ports.
        read_answer(caller.ask(REQUEST, **as_caller("slow")))
        headers = {"Authorization": f"Bearer {token_of('slow')}"}
        assert service.client.get("/v1/model", headers=headers).status_code == 200
        limited = check(caller.ask(REQUEST, **as_caller("slow")), grpc.StatusCode.RESOURCE_EXHAUSTED, "rate_limited")
        assert int(limited.metadata["grpc-retry-pushback-ms"]) == 1000 * int(limited.metadata["retry-after"]) > 1000
        named = pixels_request()
        named.id = "mine"
        (answer,) = map(ModelStreamInferResponse.FromString, caller.stream([encoded(named)], **as_caller("slow")))
        assert answer.error_message.startswith("rate_limited: ")
        assert answer.infer_response.id == "mine"
        with pytest.raises(grpc.RpcError):
            next(caller.stream([REQUEST], **as_caller("reviewer")))


def test_a_silent_caller_ends_at_the_deadline_and_a_full_service_refuses_it_at_once() -> None:
    with serving(timeout_ms=700, max_inflight_images=1) as (service, caller):
        silence = Silence()
        began = time.monotonic()
        first = caller.channel.stream_unary(INFER).future(iter(silence), timeout=TIMEOUT)
        wait_until(lambda: service.inflight == 1)
        overloaded = check(caller.send(silence), grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded")
        assert overloaded.metadata["retry-after"] == "1"
        check(refused(first.exception()), grpc.StatusCode.DEADLINE_EXCEEDED, "deadline_exceeded")
        assert 0.5 < time.monotonic() - began < TIMEOUT
        silence.end()
        read_answer(caller.ask(REQUEST))
        assert service.metric("lensgate_shed_total", reason="images") == 1


def test_the_deadline_of_the_caller_is_that_of_its_request() -> None:
    with serving() as (service, caller):
        service.scorer.go.clear()
        with pytest.raises(grpc.RpcError) as raised:
            caller.channel.unary_unary(INFER)(REQUEST, timeout=0.3)
        assert refused(raised.value).status is grpc.StatusCode.DEADLINE_EXCEEDED
        wait_until(lambda: service.inflight == 0)
        request = pixels_request()
        request.parameters["timeout"].int64_param = 100_000
        check(caller.ask(encoded(request)), grpc.StatusCode.DEADLINE_EXCEEDED, "deadline_exceeded")


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clock_that_is_set_ends_no_deadline(hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as (_, caller):
        gate = threading.Semaphore(1)

        def messages() -> Iterator[bytes]:
            for _ in range(2):
                assert gate.acquire(timeout=TIMEOUT)
                yield REQUEST

        stream = caller.stream(messages())
        assert not ModelStreamInferResponse.FromString(next(stream)).error_message
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + hours * 3600)
        gate.release()
        assert not ModelStreamInferResponse.FromString(next(stream)).error_message


def test_an_id_is_taken_over_and_returned() -> None:
    with serving() as (_, caller):
        call = caller.channel.unary_unary(INFER).with_call
        _, answered = call(REQUEST, metadata=[("x-request-id", "mine-1")], timeout=TIMEOUT)
        assert dict(answered.trailing_metadata())["x-request-id"] == "mine-1"
        _, answered = call(REQUEST, metadata=[("x-request-id", "mine-1"), ("x-request-id", "mine-2")], timeout=TIMEOUT)
        assert len(dict(answered.trailing_metadata())["x-request-id"]) == 26
        bad = caller.ask(b"\xff", metadata=[("x-request-id", "mine-2")])
        assert isinstance(bad, Refused)
        assert bad.metadata["x-request-id"] == "mine-2"


def test_a_stream_reads_no_further_than_it_answers() -> None:
    with serving() as (service, caller):
        service.scorer.go.clear()
        sent = 0

        def messages() -> Iterator[bytes]:
            nonlocal sent
            for _ in range(40):
                sent += 1
                yield REQUEST

        answers = caller.stream(messages())
        wait_until(lambda: service.inflight == stream_module.IN_FLIGHT)
        time.sleep(0.2)
        assert service.inflight == stream_module.IN_FLIGHT
        service.scorer.go.set()
        found = [ModelStreamInferResponse.FromString(answer) for answer in answers]
        assert [each.error_message for each in found] == [""] * 40
        assert service.metric("lensgate_requests_total", route=STREAM, status="200") == 40
        assert service.runtime.admission.streams == 0


def test_streams_are_counted_and_a_cancelled_one_leaves_with_its_requests() -> None:
    with serving(max_streams=2, max_share_per_caller=1.0) as (service, caller):
        service.scorer.go.clear()
        silence = Silence(REQUEST)
        streams = [caller.stream(silence), caller.stream(silence)]
        wait_until(lambda: service.runtime.admission.streams == 2)
        with pytest.raises(grpc.RpcError) as raised:
            next(caller.stream(silence))
        check(refused(raised.value), grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded")
        wait_until(lambda: service.inflight == 1)
        for each in streams:
            each.cancel()
        wait_until(lambda: service.runtime.admission.streams == 0 and service.inflight == 0)
        silence.end()
        service.scorer.go.set()


def test_a_silent_stream_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "IDLE_SECONDS", 0.2)
    with serving() as (service, caller):
        silence = Silence(REQUEST)
        stream = caller.stream(silence)
        assert not ModelStreamInferResponse.FromString(next(stream)).error_message
        with pytest.raises(grpc.RpcError) as raised:
            next(stream)
        check(refused(raised.value), grpc.StatusCode.DEADLINE_EXCEEDED, "body_too_slow")
        silence.end()
        assert service.runtime.admission.streams == 0


def test_a_stream_whose_answers_are_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "WRITE_SECONDS", 0.3)
    window = {"grpc.http2.bdp_probe": 0, "grpc.http2.lookahead_bytes": 0}
    with running_service(grpc_port=0) as service, calling(service, **window) as caller:
        request = encoded(pixels_request(*range(100)))
        stream = caller.stream(request for _ in range(300))
        wait_until(lambda: service.runtime.admission.streams == 1)
        wait_until(lambda: service.runtime.admission.streams == 0)
        assert service.metric("lensgate_requests_total", route=STREAM, status="200") < 300
        stream.cancel()


def test_a_drain_finishes_what_was_admitted_and_answers_probes() -> None:
    with running_service(grpc_port=0) as service, calling(service) as caller:
        service.scorer.go.clear()
        silence = Silence(REQUEST)
        stream = caller.stream(silence)
        pending = caller.channel.unary_unary(INFER).future(REQUEST, timeout=TIMEOUT)
        wait_until(lambda: service.inflight == 2)
        service.server.handle_exit(signal.SIGTERM, None)
        check(caller.ask(REQUEST), grpc.StatusCode.UNAVAILABLE, "draining")
        assert ServerLiveResponse.FromString(caller.ask(b"", method="ServerLive")).live
        assert not ServerReadyResponse.FromString(caller.ask(b"", method="ServerReady")).ready
        assert caller.channel.unary_unary(CHECK)(b"", timeout=TIMEOUT) == NOT_SERVING
        service.scorer.go.set()
        read_answer(pending.result(TIMEOUT))
        assert not ModelStreamInferResponse.FromString(next(stream)).error_message
        with pytest.raises(grpc.RpcError) as raised:
            next(stream)
        check(refused(raised.value), grpc.StatusCode.UNAVAILABLE, "draining")
        silence.end()
        service.thread.join(TIMEOUT)
        assert not service.thread.is_alive()


def test_read_slots_are_shared_by_caller_and_reused() -> None:
    async def scenario() -> None:
        slots, order = ReadSlots(3, 0.67), []

        async def read(caller: str) -> None:
            async with slots.hold(caller):
                order.append(caller)
                await gates[caller].wait()

        gates = {name: asyncio.Event() for name in "ab"}
        tasks = [asyncio.create_task(read(caller)) for caller in "aaaabb"]
        await asyncio.sleep(0)
        # Two of a, its share, and one of b.
        assert order == ["a", "a", "b"]
        tasks[2].cancel()
        gates["a"].set()
        await asyncio.wait(tasks[:4])
        gates["b"].set()
        await asyncio.wait(tasks)
        assert sorted(order) == ["a", "a", "a", "b", "b"]
        async with slots.hold("c"), slots.hold("c"), slots.hold("d"):
            pass

    asyncio.run(scenario())


def test_ports_and_sizes_are_checked() -> None:
    with pytest.raises(SettingsError, match="LENSGATE_PORT and LENSGATE_GRPC_PORT are both 8001"):
        check_ports(Settings(port=8001, grpc_port=8001))
    with pytest.raises(SettingsError, match="LENSGATE_GRPC_MAX_MESSAGE_BYTES"):
        Settings.load({"grpc_port": "1", "grpc_max_message_bytes": str(2**28)}, {})
    with running_service(grpc_port=0) as service:
        assert service.server.grpc is not None
        port = service.server.grpc.port
        with pytest.raises(SettingsError, match=f"LENSGATE_GRPC_PORT={port}: Address already in use"):
            check_ports(Settings(port=0, grpc_port=port))


def test_without_the_extra_the_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "service.grpc_server.server", None)
    with pytest.raises(SettingsError, match=r"pip install '\.\[grpc\]'"), running_service(grpc_port=0):
        pass


@pytest.mark.parametrize(
    ("peer", "host"),
    [("ipv4:192.0.2.1:5", "192.0.2.1"), ("ipv6:%5B::1%5D:5", "::1"), ("ipv6:[2001:db8::1]:5", "2001:db8::1"), ("", "")],
)
def test_an_address_is_read(peer: str, host: str) -> None:
    context = SimpleNamespace(time_remaining=lambda: None, peer=lambda: peer)
    assert Peer(cast("Any", context)).host == host
