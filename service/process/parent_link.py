"""A worker's end of the link to its parent."""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from service.process.frames import Collected, Frame, FrameBuffer, Kind, number_payload, split_number

log = logging.getLogger(__name__)

PUSH_SECONDS = 0.5
"""Interval between two readings. A killed worker loses the counts since its last one, unless they have been shown."""

ANSWER_SECONDS = 3.0
"""Longest time that a worker waits for the parent."""

MAX_UNSENT = 4 * 2**20
"""A parent that leaves so many bytes unread, because it is stopped, is sent no more readings."""

_CHUNK = 256 * 2**10
_PARENT_ENDED = "the parent process has ended"


class ParentLink:
    """Sends readings to the parent, collects those of the other workers, and obeys the parent's orders.

    Enter it in the event loop. The end of the link means that the parent has died.

    Args:
        link: connected to the parent.

    Raises:
        EOFError: the parent has died.
    """

    def __init__(self, link: socket.socket) -> None:
        self.earlier = _read_first(link).payload
        """The last reading of the worker before this one; empty for the first."""
        link.setblocking(False)
        self._link = link
        self._collecting: dict[int, asyncio.Future[Collected]] = {}
        self._number = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._writer: asyncio.StreamWriter | None = None
        self.is_connected = True
        """Whether the parent is alive, as far as this worker has noticed."""
        self.read: Callable[[], bytes] = bytes
        """Encodes the current metrics."""
        self.reload: Callable[[], Awaitable[object]] = _no_reload
        """Reads model, tokens and certificate again."""
        self.end: Callable[[], object] = _nothing
        """Drains the worker."""
        self.check: Callable[[], object] = _nothing
        """Raises an error if only a restart helps."""

    def check_parent(self) -> None:
        """Check that the parent is alive; call it before the link is entered.

        Raises:
            EOFError: it has died.
        """
        with contextlib.suppress(BlockingIOError):
            if not self._link.recv(1, socket.MSG_PEEK):
                raise EOFError(_PARENT_ENDED)

    def ready(self) -> None:
        """Tell the parent that this worker listens."""
        self._send(Frame(Kind.READY))

    async def collect(self, own: bytes, *, ask: bool) -> Collected | None:
        """Return the readings of the other workers; None if the parent does not answer in time.

        Args:
            own: this worker's reading, which the parent keeps.
            ask: ask every worker for a new one, instead of taking those of the last half second.
        """
        if not self._may_report():
            return None
        self._number += 1
        number = self._number
        self._collecting[number] = asyncio.get_running_loop().create_future()
        self._send(Frame(Kind.READING, number_payload(0, own)))
        self._send(Frame(Kind.COLLECT, json.dumps([number, ask]).encode()))
        try:
            return await asyncio.wait_for(self._collecting[number], ANSWER_SECONDS)
        except TimeoutError:
            log.warning("the parent process did not answer in time: the metrics show this worker alone")
            return None
        finally:
            del self._collecting[number]

    async def __aenter__(self) -> Self:
        reader, self._writer = await asyncio.open_unix_connection(sock=self._link)
        self._tasks = [asyncio.create_task(self._listen(reader)), asyncio.create_task(self._push())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._report(0)
        if self._writer is not None:
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(self._writer.drain(), ANSWER_SECONDS)
            self._writer.close()

    def _may_report(self) -> bool:
        if self._writer is None or self._writer.is_closing():
            return False
        return self._writer.transport.get_write_buffer_size() < MAX_UNSENT

    def _send(self, frame: Frame) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame.encode())

    def _report(self, number: int) -> None:
        if self._may_report():
            self._send(Frame(Kind.READING, number_payload(number, self.read())))

    async def _push(self) -> None:
        while True:
            try:
                self.check()
                self._report(0)
            except Exception:
                log.exception("this worker is at fault: it drains, and another one takes its place")
                self.end()
                return
            await asyncio.sleep(PUSH_SECONDS)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        buffer = FrameBuffer()
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                for frame in buffer.feed(data):
                    self._obey(frame)
        self.is_connected = False
        log.error("the parent process has ended: this worker drains")
        self.end()

    def _obey(self, frame: Frame) -> None:
        if frame.kind is Kind.REPORT:
            self._report(split_number(frame.payload)[0])
        elif frame.kind is Kind.RELOAD:
            self._tasks.append(asyncio.create_task(self._reload()))
        elif frame.kind is Kind.COLLECTED:
            number, payload = split_number(frame.payload)
            if (waiting := self._collecting.get(number)) is not None and not waiting.done():
                waiting.set_result(Collected.decode(payload))

    async def _reload(self) -> None:
        try:
            await self.reload()
        finally:
            self._send(Frame(Kind.RELOADED))


def _nothing() -> None:
    """Return at once."""


async def _no_reload() -> None:
    """Return at once."""


def _read_first(link: socket.socket) -> Frame:
    buffer = FrameBuffer()
    while data := link.recv(_CHUNK):
        for frame in buffer.feed(data):
            return frame
    raise EOFError(_PARENT_ENDED)
