"""Closing a gate object, and using it in another process."""

import asyncio
import copy
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from lensgate_client import (
    AsyncGate,
    Gate,
    GateError,
)

from tests.client.faulty_server import ReceivedRequest, faulty_server, respond_correctly
from tests.client.support import (
    FILE,
    NO_TLS,
    PIXELS,
    URL,
    Make,
    ScriptedGate,
    problem,
)
from tests.support.servers import TIMEOUT


def test_closed_gate_object_sends_no_request(script: Make) -> None:
    scripted = ScriptedGate()
    asking = script(scripted)
    asking.close_gate()
    with pytest.raises(GateError, match="closed"):
        asking.decide(FILE)
    with pytest.raises(GateError, match="closed"):
        asking.decide_many([FILE])
    assert scripted.seen == []
    asking = script(scripted)
    asking.decide(PIXELS)
    asking.close_gate()
    with pytest.raises(GateError, match="closed"):
        asking.decide_many(np.stack([PIXELS] * 4))
    assert len(scripted.seen) == 2


def test_close_ends_a_retry_wait() -> None:
    entered = threading.Event()

    def answer(_: httpx.Request) -> httpx.Response:
        entered.set()
        return problem(429, "overloaded", Retry_After="20")

    gate = Gate(URL, transport=httpx.MockTransport(answer))
    failed: list[GateError] = []

    def call() -> None:
        try:
            gate.decide(FILE)
        except GateError as error:
            failed.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert entered.wait(60)
    gate.close()
    thread.join(60)
    assert [error.code for error in failed] == ["closed"]


def test_close_waits_for_the_response_to_a_call_of_another_thread() -> None:
    entered = threading.Event()

    def respond(request: ReceivedRequest) -> Iterator[bytes]:
        entered.set()
        time.sleep(0.5)
        yield from respond_correctly(request)

    with faulty_server(respond) as server, ThreadPoolExecutor(1) as pool:
        gate = Gate(server.url)
        decision = pool.submit(gate.decide, FILE)
        assert entered.wait(60)
        gate.close()
        assert decision.done()
        assert decision.result().accepted


def test_close_in_the_middle_of_its_own_thread_s_call_returns() -> None:
    """As a signal handler does."""

    def answer(request: httpx.Request) -> httpx.Response:
        gate.close()
        return scripted(request)

    scripted = ScriptedGate()
    gate = Gate(URL, transport=httpx.MockTransport(answer))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(gate.decide, FILE).result(60).accepted


def test_two_threads_that_close_in_the_middle_of_their_calls_return() -> None:
    both = threading.Barrier(2)

    def answer(request: httpx.Request) -> httpx.Response:
        both.wait(60)
        gate.close()
        return scripted(request)

    scripted = ScriptedGate()
    gate = Gate(URL, transport=httpx.MockTransport(answer))
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(gate.decide, FILE) for _ in range(2)]
        assert [call.result(60).accepted for call in calls] == [True, True]


def test_close_in_a_forked_process_waits_for_no_thread_of_its_parent() -> None:
    entered, left = threading.Event(), threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        entered.set()
        left.wait(60)
        return scripted(request)

    scripted = ScriptedGate()
    gate = Gate(URL, transport=httpx.MockTransport(answer))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(gate.decide, FILE)
        assert entered.wait(60)
        child = multiprocessing.get_context("fork").Process(target=gate.close)
        child.start()
        child.join(60)
        left.set()
        assert child.exitcode == 0
        assert call.result(60).accepted


def test_gate_object_of_another_process_is_rejected(script: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = script(ScriptedGate())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="create one in each process"):
        asking.decide(FILE)
    with pytest.raises(RuntimeError, match="create one in each process"):
        asking.decide_many([FILE])


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_gate_object_cannot_be_sent_to_another_process(kind: Any, duplicate: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=f"a {kind.__name__} cannot be copied or pickled: create one in each process"):
        duplicate([kind(URL)] if duplicate is pickle.dumps else kind(URL))


def test_a_forked_process_does_not_wait_for_the_threads_of_its_parent() -> None:
    """Neither the request for the model, which is known, nor that for the decisions tells it before the shrinking."""
    batch = np.stack([PIXELS, PIXELS])
    with Gate(URL, transport=httpx.MockTransport(ScriptedGate())) as gate:
        gate.decide_many(batch)

        def decide() -> None:
            with pytest.raises(RuntimeError, match="create one in each process"):
                gate.decide_many(batch)

        child = multiprocessing.get_context("fork").Process(target=decide)
        child.start()
        child.join(60)
        child.kill()
        child.join()
        assert child.exitcode == 0


def test_a_stream_that_outlives_the_main_thread_is_told_why_it_fails() -> None:
    with Gate(URL) as gate:
        gate._sender._executor.shutdown()  # As Python does when the main thread ends.
        with pytest.raises(RuntimeError, match="Python is ending: end streams in other threads"):
            list(gate.decide_stream([FILE]))


def test_asynchronous_close_ends_requests_at_every_step_of_connecting() -> None:
    open_connections: set[object] = set()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections.add(writer)
        await reader.read()
        writer.close()
        open_connections.remove(writer)

    async def close_after(steps: int, url: str) -> None:
        async with AsyncGate(url, transport=httpx.AsyncHTTPTransport(verify=NO_TLS)) as gate:
            calls = [asyncio.create_task(gate.decide(b"image")) for _ in range(4)]
            for _ in range(steps):
                await asyncio.sleep(0)
        async with asyncio.timeout(1):
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, GateError)
                assert error.code == "closed"

    async def run() -> None:
        server = await asyncio.start_server(hold, "127.0.0.1", 0, limit=2**20)
        async with server, asyncio.timeout(TIMEOUT):
            for steps in range(30):
                await close_after(steps, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            while open_connections:
                await asyncio.sleep(0.01)

    asyncio.run(run())


def test_a_cancelled_close_leaves_no_connections() -> None:
    class SlowCleanup(httpx.AsyncBaseTransport):
        is_closed = False

        async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
            try:
                await asyncio.sleep(TIMEOUT)
            finally:
                await asyncio.sleep(0.05)
            return httpx.Response(500)

        async def aclose(self) -> None:
            self.is_closed = True

    async def run() -> None:
        transport = SlowCleanup()
        gate = AsyncGate(URL, transport=transport)
        call = asyncio.create_task(gate.decide(b"image"))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(gate.close())
        await asyncio.sleep(0.01)
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        assert transport.is_closed
        with pytest.raises(GateError, match="closed"):
            await call

    asyncio.run(run())
