"""Work beside the requests that is done again and again, such as looking whether something changed."""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from service.futures import call_in_loop

log = logging.getLogger(__name__)


class Repeated(ABC):
    """Takes a turn every so often for as long as its `async with` block lasts, whatever a turn raises.

    Args:
        seconds: before a turn; None waits until `again` is called.
        fault: what the log says of a turn that raised.
        at_once: take the first turn without waiting.
        patience: seconds that a turn which is under way is given at the block's end.
    """

    def __init__(self, *, seconds: float | None, fault: str, at_once: bool = False, patience: float = 0.0) -> None:
        self._seconds = seconds
        self._fault = fault
        self._at_once = at_once
        self._patience = patience
        self._is_ended = False
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def turn(self) -> None:
        """Do it once."""

    def again(self) -> None:
        """Take a turn soon. May be called from signal handlers and from any thread."""
        if self._loop is not None:
            call_in_loop(self._loop, self._woken.set)

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
            await asyncio.wait([self._task], timeout=self._patience)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        if not self._at_once:
            await self._wait()
        while not self._is_ended:
            try:
                await self.turn()
            except Exception:  # The next turn may be the one that matters, such as a token that is revoked.
                log.exception(self._fault)
            await self._wait()

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), self._seconds)
        if not self._is_ended:
            self._woken.clear()
