"""Connections of one port: a limit on their number, and a timeout for callers that do not read their answers."""

import asyncio
import contextlib
import resource
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

WRITE_SECONDS = 30.0
"""Time in which a caller has to read `MIN_READ_BYTES`, or all pending bytes."""

MIN_READ_BYTES = 64 * 2**10

MAX_HANDSHAKES = 128
"""TLS handshakes in progress at a time, in all workers together."""

SWEEP_SECONDS = 1.0
# File descriptors reserved for model, records and handshakes; at most half of those of the process.
_OTHER_DESCRIPTORS = 256


class OpenConnection(Protocol):
    """An open connection."""

    transport: asyncio.Transport


class _Unread(NamedTuple):
    """The unread bytes of a caller, and the deadline for reading some of them."""

    size: int
    deadline: float


class Connections:
    """Counts open connections. Beyond `limit` a new one displaces one without a request.

    Connections that never sent a request go first, then the longest idle. Used from the event loop only.

    Args:
        limit: maximum number of connections.
        on_refusal: called with the reason for each refused request, and for each connection that the limit closes.
    """

    def __init__(self, limit: int, on_refusal: Callable[[str], None]) -> None:
        self.on_refusal = on_refusal
        self._limit = limit
        self._open: set[OpenConnection] = set()
        # Dicts as ordered sets.
        self._new: dict[OpenConnection, None] = {}
        self._idle: dict[OpenConnection, None] = {}
        self._unread: dict[OpenConnection, _Unread] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: OpenConnection) -> bool:
        """Count a connection; False if all others have a request in progress: the caller then has to close it."""
        if len(self._open) >= self._limit:
            self.on_refusal("connections")
            if not self._displace():
                return False
        self._open.add(connection)
        self._new[connection] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        return True

    def leave(self, connection: OpenConnection) -> None:
        """Stop counting a connection; calling it again has no effect."""
        self._open.discard(connection)
        self._unread.pop(connection, None)
        self.begin(connection)

    def begin(self, connection: OpenConnection) -> None:
        """Note that a request is in progress."""
        self._new.pop(connection, None)
        self._idle.pop(connection, None)

    def rest(self, connection: OpenConnection) -> None:
        """Note that its request is answered."""
        if connection in self._open:
            self._idle[connection] = None

    def _displace(self) -> bool:
        for waiting in (self._new, self._idle):
            for connection in waiting:
                self.leave(connection)
                connection.transport.abort()
                return True
        return False

    def _sweep(self) -> None:
        """Abort connections whose callers do not read. One sweep per second costs less than a timer each."""
        loop = asyncio.get_running_loop()
        for connection in tuple(self._open):
            self._check(connection, loop.time())
        self._timer = loop.call_later(SWEEP_SECONDS, self._sweep) if self._open else None

    def _check(self, connection: OpenConnection, now: float) -> None:
        size = connection.transport.get_write_buffer_size()
        unread = self._unread.get(connection)
        if not size:
            self._unread.pop(connection, None)
        # The buffer grows when the caller has read enough for more to be written.
        elif unread is None or size > unread.size or unread.size - size >= MIN_READ_BYTES:
            self._unread[connection] = _Unread(size, now + WRITE_SECONDS)
        elif now > unread.deadline:
            connection.transport.abort()


class Handshakes:
    """TLS handshakes in progress: beyond `limit` the oldest is aborted.

    Args:
        limit: maximum number of handshakes.
        on_refusal: called with the reason for each refused request, and for each handshake that the limit ends.
    """

    def __init__(self, limit: int, on_refusal: Callable[[str], None]) -> None:
        self.on_refusal = on_refusal
        self._limit = min(limit, _descriptor_limit() // 8 or 1)
        self._waiting: dict[asyncio.Transport, None] = {}

    @contextlib.contextmanager
    def wait(self, transport: asyncio.Transport) -> Iterator[None]:
        """Count a handshake while the block runs."""
        self._waiting[transport] = None
        if len(self._waiting) > self._limit:
            self.on_refusal("handshakes")
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.abort()
        try:
            yield
        finally:
            self._waiting.pop(transport, None)

    def close(self) -> None:
        """Abort all of them."""
        for transport in tuple(self._waiting):
            transport.abort()


def connection_limit(limit: int, *, ports: int) -> int:
    """Return the maximum number of connections of one of `ports` ports, as far as their file descriptors allow."""
    return min(limit, _descriptor_limit() // ports)


def _descriptor_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else max(soft // 2, soft - _OTHER_DESCRIPTORS)
