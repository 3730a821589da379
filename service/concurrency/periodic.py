"""Periodic work beside the requests, such as checking files for changes."""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from service.concurrency.futures import call_in_loop

log = logging.getLogger(__name__)


class Repeated(ABC):
    """Calls `turn` periodically while its `async with` block lasts; an exception in a turn is logged.

    Args:
        seconds: time before each turn; None waits until `again` is called.
        fault: the log message for a turn that raised.
        at_once: run the first turn without waiting.
        end_timeout: seconds that a running turn may take to finish at the end of the block.
    """

    def __init__(self, *, seconds: float | None, fault: str, at_once: bool = False, end_timeout: float = 0.0) -> None:
        self._seconds = seconds
        self._fault = fault
        self._at_once = at_once
        self._end_timeout = end_timeout
        self._is_ended = False
        self._woken = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def turn(self) -> None:
        """Do the work once."""

    def again(self) -> None:
        """Run a turn soon. Safe to call from signal handlers and from any thread."""
        if self._loop is not None:
            call_in_loop(self._loop, self._woken.set)

    async def finish_again(self) -> None:
        """Run a turn soon, and return when it has ended. Call it inside the block."""
        ended = asyncio.get_running_loop().create_future()
        self._waiting.append(ended)
        self.again()
        await ended

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task:
            self._is_ended = True
            self._woken.set()
            await asyncio.wait([self._task], timeout=self._end_timeout)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        if not self._at_once:
            await self._wait()
        while not self._is_ended:
            waiting, self._waiting = self._waiting, []
            try:
                await self.turn()
            except Exception:  # Later turns must still run: the next one may revoke a token.
                log.exception(self._fault)
            finally:
                for each in waiting:
                    if not each.done():
                        each.set_result(None)
            await self._wait()

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), self._seconds)
        if not self._is_ended:
            self._woken.clear()
