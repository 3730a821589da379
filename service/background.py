"""Work beside the requests that is done again and again, such as looking whether something changed."""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)


class Repeated(ABC):
    """Takes a turn every so often for as long as its `async with` block lasts, whatever a turn raises.

    Args:
        seconds: before a turn.
        fault: what the log says of a turn that raised.
        at_once: take the first turn without waiting.
        patience: seconds that a turn which is under way is given at the block's end.
    """

    def __init__(self, *, seconds: float, fault: str, at_once: bool = False, patience: float = 0.0) -> None:
        self._seconds = seconds
        self._fault = fault
        self._at_once = at_once
        self._patience = patience
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def turn(self) -> None:
        """Do it once."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task:
            self._ended.set()
            await asyncio.wait([self._task], timeout=self._patience)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        if not self._at_once:
            await self._wait()
        while not self._ended.is_set():
            try:
                await self.turn()
            except Exception:  # The next turn may be the one that matters, such as a token that is revoked.
                log.exception(self._fault)
            await self._wait()

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), self._seconds)
