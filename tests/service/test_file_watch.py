"""Files that are looked at while the service runs."""

import asyncio
import queue
from pathlib import Path

import pytest

from service.concurrency.file_watch import FileWatch
from tests.support.servers import TIMEOUT


def test_a_change_that_cannot_be_taken_up_does_not_hide_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens.toml"
    found: queue.SimpleQueue[str] = queue.SimpleQueue()

    def take_up() -> None:
        text = path.read_text()
        found.put(text)
        if text == "broken":
            raise MemoryError

    async def watch() -> None:
        async with FileWatch([path], take_up, seconds=0.001):
            for text in ("broken", "whole"):
                path.with_suffix(".new").write_text(text)
                path.with_suffix(".new").replace(path)
                assert await asyncio.to_thread(found.get, timeout=TIMEOUT) == text

    asyncio.run(watch())
    assert "tokens.toml changed and could not be reloaded" in caplog.text


def test_a_file_that_is_still_being_written_is_not_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text("whole")
    found: list[str] = []
    watch = FileWatch([path], lambda: found.append(path.read_text()))

    async def grow() -> None:
        for length in range(1, 6):
            path.write_text("other"[:length])
            await watch.turn()
        assert found == []
        await watch.turn()

    asyncio.run(grow())
    assert found == ["other"]
