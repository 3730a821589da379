"""Files that are generated while they are sent."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from anyio import create_task_group

from service.http.downloads import Downloads


class Files:
    """Makes files of three parts, and counts how many parts are made at a time."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self._lock = threading.Lock()

    def parts(self, name: str) -> Iterator[str]:
        for number in range(3):
            with self._lock:
                self.running += 1
                self.most = max(self.most, self.running)
            time.sleep(0.002)
            with self._lock:
                self.running -= 1
            yield f"{name}{number} "


def test_parts_of_several_files_are_generated_one_at_a_time() -> None:
    files, downloads = Files(), Downloads()

    async def read(name: str) -> str:
        answer = await downloads.respond(files.parts(name), f"{name}.csv", media_type="text/csv")
        return "".join([str(part) async for part in answer.body_iterator])

    async def read_all() -> list[str]:
        return await asyncio.gather(*map(read, "abcdefgh"))

    assert asyncio.run(read_all()) == [f"{name}0 {name}1 {name}2 " for name in "abcdefgh"]
    assert files.most == 1


def test_a_reader_that_stops_an_error_and_a_cancelled_one_leave_the_others_alone() -> None:
    files, downloads = Files(), Downloads()

    def broken() -> Iterator[str]:
        yield "begun"
        raise ValueError("unreadable")

    async def read(parts: Iterator[str]) -> str:
        answer = await downloads.respond(parts, "x.csv", media_type="text/csv")
        return "".join([str(part) async for part in answer.body_iterator])

    async def run() -> tuple[str | BaseException, ...]:
        stopped = (await downloads.respond(files.parts("s"), "x.csv", media_type="text/csv")).body_iterator
        assert await anext(aiter(stopped)) == "s0 "
        async with create_task_group() as gone:
            for _ in range(8):
                gone.start_soon(read, files.parts("c"))
            await asyncio.sleep(0.001)  # One is at work, and seven wait.
            gone.cancel_scope.cancel()
        return await asyncio.wait_for(
            asyncio.gather(read(files.parts("a")), read(broken()), read(files.parts("b")), return_exceptions=True), 60
        )

    first, failed, last = asyncio.run(run())
    assert (first, last) == ("a0 a1 a2 ", "b0 b1 b2 ")
    assert isinstance(failed, ValueError)
    assert files.most == 1


def test_an_error_of_the_first_part_is_raised_before_the_answer_begins() -> None:
    def parts() -> Iterator[str]:
        raise ValueError("unreadable")
        yield ""

    with pytest.raises(ValueError, match="unreadable"):
        asyncio.run(Downloads().respond(parts(), "x.csv", media_type="text/csv"))
