"""Computations that callers share: one at a time, and each begins after its calls."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from service.concurrency.shared_computation import MAX_WAITING, SharedComputation
from service.errors import Overloaded
from tests.support.servers import TIMEOUT


class Work:
    """Counts its calls, which end one by one, and how many run at a time."""

    def __init__(self) -> None:
        self.calls = self.running = self.most = 0
        self.go = threading.Semaphore(0)

    def __call__(self) -> int:
        """Return the number of this call."""
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        number = self.calls
        assert self.go.acquire(timeout=TIMEOUT)
        self.running -= 1
        if number == 3:
            raise ValueError("the third")
        return number


async def until(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0.001)


def test_callers_share_the_computation_that_has_not_begun_and_one_runs_at_a_time() -> None:
    async def scenario() -> None:
        work, shared = Work(), SharedComputation[int]()
        first = asyncio.create_task(shared.get("a", work))
        await until(lambda: work.running)
        # The first has begun without what these callers may have stored meanwhile.
        later = [asyncio.create_task(shared.get("a", work)) for _ in range(8)]
        await asyncio.sleep(0.05)
        later[0].cancel()
        assert work.calls == 1
        work.go.release(2)
        assert await first == 1
        found = await asyncio.gather(*later, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert found[1:] == [2] * 7

    asyncio.run(scenario())


def test_callers_of_other_keys_wait_for_their_turn_and_an_error_is_that_of_its_callers() -> None:
    async def scenario() -> None:
        work, shared = Work(), SharedComputation[int]()
        work.go.release(4)
        found = await asyncio.gather(*(shared.get(key, work) for key in "abcc"), return_exceptions=True)
        assert found[:2] == [1, 2]
        assert [str(each) for each in found[2:]] == ["the third"] * 2
        assert await shared.get("c", work) == 4
        assert work.most == 1

    asyncio.run(scenario())


def test_few_computations_wait_and_the_next_one_is_refused() -> None:
    async def scenario() -> None:
        work, shared = Work(), SharedComputation[int]()
        first = asyncio.create_task(shared.get("first", work))
        await until(lambda: work.running)
        waiting = [asyncio.create_task(shared.get(key, lambda: 0)) for key in range(MAX_WAITING)]
        await asyncio.sleep(0.01)
        with pytest.raises(Overloaded, match="16 computations wait"):
            await shared.get("one more", lambda: 0)
        joined = asyncio.create_task(shared.get(0, lambda: 0))  # One that waits already may be joined.
        work.go.release()
        assert await first == 1
        assert await asyncio.gather(*waiting, joined) == [0] * (MAX_WAITING + 1)
        assert await shared.get("one more", lambda: 5) == 5

    asyncio.run(scenario())
