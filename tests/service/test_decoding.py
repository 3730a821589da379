import asyncio
import gc
import sys
import threading
from functools import partial

import pytest

from gate import read_pixels
from service.decoding import DecodePool
from service.errors import DeadlineExceeded
from tests.support.images import encode, portrait
from tests.support.servers import TIMEOUT


def test_what_is_cancelled_while_it_waits_is_never_decoded() -> None:
    go, decoded = threading.Event(), list[bytes]()

    def work(data: bytes) -> int:
        assert go.wait(TIMEOUT)
        decoded.append(data)
        return len(data)

    async def run() -> None:
        pool = DecodePool(threads=1, observe=lambda _: None)
        tasks = [asyncio.ensure_future(pool.run(work, data)) for data in (b"first", b"second", b"third")]
        await asyncio.sleep(0.01)
        assert (pool.busy, pool.queued) == (3, 2)
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        go.set()
        first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(second, asyncio.CancelledError)
        assert not isinstance(first, BaseException)
        assert not isinstance(third, BaseException)
        assert third.waited > first.waited >= 0
        assert (first.made, third.made) == (5, 5)
        assert (pool.busy, pool.queued) == (0, 0)
        pool.close()

    asyncio.run(run())
    assert decoded == [b"first", b"third"]


def test_what_waited_past_its_deadline_is_never_decoded() -> None:
    decoded = list[bytes]()
    now = 10.0

    async def run() -> None:
        pool = DecodePool(threads=1, observe=lambda _: None, clock=lambda: now)
        with pytest.raises(DeadlineExceeded):
            await pool.run(decoded.append, b"late", deadline=9.0)
        await pool.run(decoded.append, b"in time", deadline=10.0)
        pool.close()

    asyncio.run(run())
    assert decoded == [b"in time"]


def test_a_body_is_let_go_when_its_caller_is() -> None:
    go = threading.Event()

    async def run() -> None:
        pool = DecodePool(threads=1, observe=lambda _: None)
        running = asyncio.ensure_future(pool.run(lambda _: go.wait(TIMEOUT), b"first"))
        body = bytes(1000)
        held = sys.getrefcount(body)
        waiting = asyncio.ensure_future(pool.run(len, body))
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

    asyncio.run(run())


def test_a_decode_that_nobody_waits_for_still_counts() -> None:
    seconds = list[float]()

    async def run() -> None:
        pool = DecodePool(threads=1, observe=seconds.append)
        task = asyncio.ensure_future(pool.run(partial(read_pixels, size=8), encode(portrait(1024))))
        await asyncio.sleep(0)
        while pool._jobs.qsize():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        assert pool.busy == 1
        while pool.busy:
            await asyncio.sleep(0.001)
        pool.close()

    asyncio.run(asyncio.wait_for(run(), TIMEOUT))
    assert len(seconds) == 1


def test_whoever_waits_for_a_thread_is_the_backlog() -> None:
    go, caught_up = threading.Event(), list[int]()

    async def run() -> None:
        now = iter([0.0, 0.0, 0.5, 0.5, *[1.0] * 99])
        pool = DecodePool(
            threads=1, observe=lambda _: None, on_caught_up=lambda: caught_up.append(pool.busy), clock=lambda: next(now)
        )
        await pool.run(len, b"first")  # Half a second.
        assert (pool.backlog(), pool.predicted_wait(), caught_up) == (0.0, 0.0, [])
        waiting = [asyncio.ensure_future(pool.run(lambda _: go.wait(TIMEOUT), b"")) for _ in range(3)]
        await asyncio.sleep(0)
        assert (pool.backlog(), pool.predicted_wait()) == (1.0, 1.5)
        go.set()
        await asyncio.gather(*waiting)
        assert caught_up == [1]
        pool.close()

    asyncio.run(run())


def test_the_threads_end_when_the_pool_is_closed_and_not_by_any_fault() -> None:
    async def run() -> None:
        pool = DecodePool(threads=2, observe=lambda _: None)
        mine = [each for each in threading.enumerate() if each not in before]
        assert len(mine) == 2
        for _ in range(4):
            with pytest.raises(SystemExit):
                await pool.run(sys.exit, 1)
        assert (await pool.run(len, b"next")).made == 4
        pool.close()
        for each in mine:
            await asyncio.to_thread(each.join, TIMEOUT)
            assert not each.is_alive()

    before = threading.enumerate()
    asyncio.run(run())
