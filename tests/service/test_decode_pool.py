import asyncio
import gc
import sys
import threading
import weakref

import pytest

from service.errors import DeadlineExceeded, NotReady
from service.inference.decode_pool import DecodePool
from service.inference.payload import Payload
from tests.support.servers import TIMEOUT


def test_task_cancelled_in_the_queue_is_not_decoded() -> None:
    go, decoded = threading.Event(), list[bytes]()

    def work(data: bytes) -> int:
        assert go.wait(TIMEOUT)
        decoded.append(data)
        return len(data)

    async def run() -> None:
        pool = DecodePool(threads=1, observe=lambda _: None)
        pool.start()
        tasks = [asyncio.ensure_future(pool.run(work, Payload(data))) for data in (b"first", b"second", b"third")]
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


def test_task_past_its_deadline_is_not_decoded() -> None:
    decoded = list[bytes]()
    now = 10.0

    async def run() -> None:
        pool = DecodePool(threads=1, observe=lambda _: None, clock=lambda: now)
        pool.start()
        with pytest.raises(DeadlineExceeded):
            await pool.run(decoded.append, Payload(b"late"), deadline=9.0)
        await pool.run(decoded.append, Payload(b"in time"), deadline=10.0)
        pool.close()

    asyncio.run(run())
    assert decoded == [b"in time"]


def test_cancelled_task_releases_its_body() -> None:
    go = threading.Event()

    async def run() -> None:
        pool = DecodePool(threads=1, observe=lambda _: None)
        pool.start()
        running = asyncio.ensure_future(pool.run(lambda _: go.wait(TIMEOUT), Payload(b"first")))
        body = bytes(1000)
        held = sys.getrefcount(body)
        waiting = asyncio.ensure_future(pool.run(len, Payload(body)))
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


def test_cancelled_running_decode_stays_busy_until_it_ends() -> None:
    seconds = list[float]()
    entered, go = threading.Event(), threading.Event()

    def work(_: bytes) -> None:
        entered.set()
        assert go.wait(TIMEOUT)

    async def run() -> None:
        pool = DecodePool(threads=1, observe=seconds.append)
        pool.start()
        task = asyncio.ensure_future(pool.run(work, Payload(b"")))
        await asyncio.sleep(0)
        assert await asyncio.to_thread(entered.wait, TIMEOUT)
        task.cancel()
        await asyncio.wait([task])
        assert pool.busy == 1
        go.set()
        while pool.busy:
            await asyncio.sleep(0.001)
        pool.close()

    asyncio.run(asyncio.wait_for(run(), TIMEOUT))
    assert len(seconds) == 1


def test_backlog_counts_tasks_that_wait_for_a_thread() -> None:
    go, ends = threading.Event(), list[float]()

    async def run() -> None:
        now = iter([0.0, 0.0, 0.5, 0.5, *[1.0] * 99])
        pool = DecodePool(
            threads=1, observe=lambda _: None, on_end=lambda: ends.append(pool.backlog()), clock=lambda: next(now)
        )
        pool.start()
        await pool.run(len, Payload(b"first"))  # Half a second.
        await asyncio.sleep(0)
        assert (pool.backlog(), pool.predicted_wait(), ends) == (0.0, 0.0, [0.0])
        waiting = [asyncio.ensure_future(pool.run(lambda _: go.wait(TIMEOUT), Payload(b""))) for _ in range(3)]
        await asyncio.sleep(0)
        assert (pool.backlog(), pool.predicted_wait()) == (1.0, 1.5)
        waiting.pop().cancel()
        await asyncio.sleep(0)
        assert ends == [0.0, 0.5]
        go.set()
        await asyncio.gather(*waiting)
        await asyncio.sleep(0)
        assert len(ends) == 4
        pool.close()

    asyncio.run(run())


def test_threads_survive_exceptions_and_end_when_the_pool_is_closed() -> None:
    async def run() -> None:
        pool = DecodePool(threads=2, observe=lambda _: None)
        pool.start()
        mine = [each for each in threading.enumerate() if each not in before]
        assert len(mine) == 2
        for _ in range(4):
            with pytest.raises(RuntimeError, match=r"ended by SystemExit\(1\)"):
                await pool.run(sys.exit, Payload(1))
        assert (await pool.run(len, Payload(b"next"))).made == 4
        pool.close()
        with pytest.raises(NotReady):
            await pool.run(len, Payload(b"too late"))
        for each in mine:
            await asyncio.to_thread(each.join, TIMEOUT)
            assert not each.is_alive()

    before = threading.enumerate()
    asyncio.run(run())


def test_closing_drops_the_queue() -> None:
    entered, go = threading.Event(), threading.Event()

    def work(_: bytes) -> bool:
        entered.set()
        return go.wait(TIMEOUT)

    async def run() -> None:
        pool = DecodePool(threads=1, observe=lambda _: None)
        pool.start()
        inside, waits = (asyncio.ensure_future(pool.run(work, Payload(b""))) for _ in range(2))
        await asyncio.sleep(0)
        assert await asyncio.to_thread(entered.wait, TIMEOUT)
        pool.close()
        await asyncio.wait([waits])
        assert waits.cancelled()
        go.set()
        assert (await inside).made

    asyncio.run(run())


def test_failed_task_releases_its_body() -> None:
    class Body:
        """A body that supports weak references, unlike bytes."""

    def work(body: Body) -> None:
        raise ValueError(f"{body} is none")

    async def fail(pool: DecodePool, body: list[Body]) -> "weakref.ref[Body]":
        gone = weakref.ref(body[0])
        with pytest.raises(ValueError, match="is none"):
            await pool.run(work, Payload(body.pop()))
        return gone

    async def run() -> None:
        pool = DecodePool(threads=1, observe=lambda _: None)
        pool.start()
        gone = await asyncio.ensure_future(fail(pool, [Body()]))
        await asyncio.sleep(0.01)
        assert gone() is None
        pool.close()

    gc.disable()
    try:
        asyncio.run(run())
    finally:
        gc.enable()
