"""Request bodies read under admission, and cancellation of work whose caller has disconnected."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from types import TracebackType

from starlette.requests import Request

from service.errors import BodyTooLarge, BodyTooSlow, ClientGone, DeadlineExceeded, MalformedRequest
from service.http.scope_state import Connection, request_state
from service.inference.admission import Permit

GRACE_SECONDS = 5.0
"""The time that a body may stall; bytes that arrive at the minimum rate restore it."""

_MAX_LENGTH_DIGITS = 15
_MIN_SECONDS = 0.1


def content_length(request: Request) -> int | None:
    """Return Content-Length, or None for a chunked body.

    Raises:
        MalformedRequest: the header is not a number.
    """
    text = request.headers.get("content-length")
    if text is None:
        return None
    text = text.strip(" \t")
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_LENGTH_DIGITS):
        raise MalformedRequest("Content-Length is not a number of bytes")
    return int(text)


async def read_body(request: Request, permit: Permit, *, min_rate: int) -> bytes | bytearray:
    """Read the whole body, counting each part in `permit` before it is kept.

    Raises:
        BodyTooSlow: it arrives at less than `min_rate` bytes per second.
        BodyTooLarge, Overloaded: it exceeds its announced size, and the capacity is exhausted.
        ClientGone: the caller disconnected before the end.
    """
    length = content_length(request)
    connection = request_state(request.scope).connection
    if length is not None and connection is not None:
        body = await _read_announced(request, length, connection, min_rate=min_rate)
    else:
        body = await _read_parts(request, permit, min_rate=min_rate)
    permit.complete()
    return body


async def _read_parts(request: Request, permit: Permit, *, min_rate: int) -> bytearray:
    body = bytearray()
    with _AtRate(min_rate, lambda: len(body)):
        async for part in body_parts(request):
            permit.receive(len(part))
            body += part
    return body


async def _read_announced(request: Request, length: int, connection: Connection, *, min_rate: int) -> bytes | bytearray:
    """Read a body of known length, whose bytes are already reserved: without a copy if it has come, else into a buffer.

    The bytes that have come with the head are copied once; the rest goes from the socket to its place.
    """
    is_direct = False
    try:
        with _AtRate(min_rate, lambda: length - connection.rest_of_body() if is_direct else 0):
            first, _ = await _receive(request)
            if len(first) == length:
                return first
            body = bytearray(length)
            body[: len(first)] = first
            connection.read_into(memoryview(body)[len(first) :])
            is_direct = True
            await _receive(request)
    except BaseException:
        connection.stop_reading()
        raise
    return body


class Pace:
    """The remaining time that a body may stall: waiting reduces it, received bytes restore it.

    Args:
        min_rate: bytes per second; 0 disables the check.
        grace: maximum in seconds.
    """

    def __init__(self, min_rate: int, grace: float) -> None:
        self.left = grace if min_rate else math.inf
        self._min_rate = min_rate
        self._grace = grace

    def count(self, seconds: float, size: int) -> None:
        """Count `size` bytes received after `seconds` of waiting."""
        if self._min_rate:
            self.left = min(self._grace, self.left - seconds + size / self._min_rate)


class _AtRate:
    """Cancels the block when fewer than `min_rate` bytes arrive per second; `received` returns how many have arrived.

    A class: a function that schedules itself is a reference cycle, which keeps the body until a garbage collection.

    Raises:
        BodyTooSlow: the block was cancelled.
    """

    __slots__ = ("_is_slow", "_loop", "_min_rate", "_pace", "_received", "_seen", "_task", "_timer")

    def __init__(self, min_rate: int, received: Callable[[], int]) -> None:
        self._min_rate = min_rate
        self._received = received
        self._pace = Pace(min_rate, GRACE_SECONDS)
        self._seen = 0
        self._is_slow = False
        self._timer: asyncio.Handle | None = None

    def __enter__(self) -> None:
        if self._min_rate:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            self._wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_slow and self._task is not None and isinstance(error, asyncio.CancelledError):
            self._task.uncancel()
            raise BodyTooSlow(
                f"the body arrived at less than {self._min_rate:,} bytes per second (LENSGATE_MIN_BODY_RATE): "
                "send it faster"
            ) from None

    def _wait(self) -> None:
        self._timer = self._loop.call_later(self._pace.left, self._check, self._pace.left)

    def _check(self, waited: float) -> None:
        self._count(waited)
        if self._pace.left >= _MIN_SECONDS:
            self._wait()
        else:
            # After a pause of the process, bytes that arrived during it are only being read now.
            self._timer = self._loop.call_soon(self._check_again)

    def _check_again(self) -> None:
        self._count(0.0)
        if self._pace.left >= _MIN_SECONDS:
            self._wait()
        elif self._task is not None:
            self._is_slow = True
            self._task.cancel()

    def _count(self, waited: float) -> None:
        before, self._seen = self._seen, self._received()
        self._pace.count(waited, self._seen - before)


async def body_parts(request: Request) -> AsyncIterator[bytes]:
    """Iterate over the parts of the body as they arrive.

    Raises:
        ClientGone: the caller disconnected before the end.
    """
    is_last = False
    while not is_last:
        part, is_last = await _receive(request)
        yield part


async def _receive(request: Request) -> tuple[bytes, bool]:
    """Return the next part of the body and whether it is the last.

    Raises:
        ClientGone: the caller disconnected before the end.
    """
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientGone("the connection closed before the body was complete")
    return message.get("body", b""), not message.get("more_body", False)


async def read_small(request: Request, *, limit: int, seconds: float) -> bytes:
    """Read a body of a few kilobytes, which needs no permit.

    Raises:
        BodyTooLarge: it is longer than `limit`.
        DeadlineExceeded: it did not arrive in time.
        ClientGone: the caller disconnected before the end.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in body_parts(request):
                body += part
                if len(body) > limit:
                    raise BodyTooLarge(f"the body has more than {limit:,} bytes")
    except TimeoutError as error:
        raise DeadlineExceeded(f"the body did not arrive within {seconds:.0f} s") from error
    return bytes(body)


class WhileConnected:
    """Cancels the block if the caller disconnects; the body must have been read.

    Raises:
        ClientGone: the caller disconnected.
    """

    __slots__ = ("_is_gone", "_state", "_task")

    def __init__(self, request: Request) -> None:
        self._state = request_state(request.scope)
        self._task = asyncio.current_task()
        self._is_gone = False

    def __enter__(self) -> None:
        self._state.on_disconnect = self._leave

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state.on_disconnect = None  # Also ends the cycle of references.
        if self._is_gone and isinstance(error, asyncio.CancelledError):
            if self._task is not None:
                self._task.uncancel()
            raise ClientGone("the connection closed before the answer") from None

    def _leave(self) -> None:
        self._is_gone = True
        if self._task is not None:
            self._task.cancel()
