import asyncio
import gc
import sys
import threading

import pytest

from gate.pixels import Pixels
from service import decoding
from service.decoding import DecodePool
from tests.support.images import encode, flat, portrait
from tests.support.servers import TIMEOUT


def test_what_is_cancelled_while_it_waits_is_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    go, decoded = threading.Event(), list[bytes]()

    def read(data: bytes, size: int, *, max_pixels: int) -> Pixels:
        assert go.wait(TIMEOUT)
        decoded.append(data)
        return flat(max_pixels % 256, size)

    async def run() -> None:
        pool = DecodePool(8, threads=1, max_pixels=1000, observe=lambda _: None)
        tasks = [asyncio.ensure_future(pool.decode(data)) for data in (b"first", b"second", b"third")]
        await asyncio.sleep(0.01)
        assert (pool.busy, pool.queued) == (3, 2)
        tasks[1].cancel()
        go.set()
        first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(second, asyncio.CancelledError)
        assert not isinstance(first, BaseException)
        assert not isinstance(third, BaseException)
        assert third.waited > first.waited >= 0
        assert (pool.busy, pool.queued) == (0, 0)
        pool.close()

    monkeypatch.setattr(decoding, "read_pixels", read)
    asyncio.run(run())
    assert decoded == [b"first", b"third"]


def test_a_body_is_let_go_when_its_caller_is(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def read(_: bytes, size: int, *, max_pixels: int) -> Pixels:
        assert go.wait(TIMEOUT)
        return flat(max_pixels % 256, size)

    async def run() -> None:
        pool = DecodePool(8, threads=1, max_pixels=1000, observe=lambda _: None)
        running = asyncio.ensure_future(pool.decode(b"first"))
        body = bytes(1000)
        held = sys.getrefcount(body)
        waiting = asyncio.ensure_future(pool.decode(body))
        await asyncio.sleep(0.01)
        assert sys.getrefcount(body) > held
        waiting.cancel()
        await asyncio.wait([waiting])
        del waiting
        gc.collect()
        assert sys.getrefcount(body) == held
        assert pool.busy == 1
        go.set()
        await running
        assert pool.busy == 0
        pool.close()

    monkeypatch.setattr(decoding, "read_pixels", read)
    asyncio.run(run())


def test_a_decode_that_nobody_waits_for_still_counts() -> None:
    idle = threading.Event()

    async def run() -> None:
        pool = DecodePool(8, threads=1, max_pixels=2**22, observe=lambda _: None, on_idle=idle.set)
        task = asyncio.ensure_future(pool.decode(encode(portrait(1024))))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        pool.close()

    asyncio.run(run())
    assert idle.wait(TIMEOUT)
