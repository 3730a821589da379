"""All connections of one port: a bound on their number, and an end for callers that do not read their answers."""

import asyncio
import contextlib
import resource
from collections.abc import Iterator
from typing import Protocol

WRITE_SECONDS = 30.0
"""In this time a caller has to read `MIN_READ_BYTES`, or all that waits for it."""

MIN_READ_BYTES = 64 * 2**10

_SWEEP_SECONDS = 1.0
# File descriptors of the process that are left to the model, the records and handshakes; half of them where few exist.
_OTHER_DESCRIPTORS = 256


class OpenConnection(Protocol):
    """What is asked of a connection here."""

    transport: asyncio.Transport


class _Unread:
    """Bytes that a caller had not read, and until when it has to read some of them."""

    __slots__ = ("deadline", "size")

    def __init__(self, size: int, deadline: float) -> None:
        self.size = size
        self.deadline = deadline


class Connections:
    """Counts open connections. Beyond `most` a new one takes the place of one without a request.

    Connections that never sent a request go first, then those that were idle for longest. Used from the event loop
    alone.

    Args:
        most: most connections at a time; never more than the process has file descriptors for.
    """

    def __init__(self, most: int) -> None:
        self._most = min(most, _most_by_descriptors())
        self._open: set[OpenConnection] = set()
        # Dicts as ordered sets.
        self._new: dict[OpenConnection, None] = {}
        self._idle: dict[OpenConnection, None] = {}
        self._unread: dict[OpenConnection, _Unread] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: OpenConnection) -> bool:
        """Count a connection; False where every other one has a request in progress, and this has to be closed."""
        if len(self._open) >= self._most and not self._displace():
            return False
        self._open.add(connection)
        self._new[connection] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)
        return True

    def leave(self, connection: OpenConnection) -> None:
        """Count it no longer; a second time changes nothing."""
        self._open.discard(connection)
        self._unread.pop(connection, None)
        self.begin(connection)

    def begin(self, connection: OpenConnection) -> None:
        """Note that a request is in progress."""
        self._new.pop(connection, None)
        self._idle.pop(connection, None)

    def rest(self, connection: OpenConnection) -> None:
        """Note that its request has been answered."""
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
        """Cut off callers that do not read. One look a second at all connections costs less than a timer for each."""
        loop = asyncio.get_running_loop()
        for connection in tuple(self._open):
            self._check(connection, loop.time())
        self._timer = loop.call_later(_SWEEP_SECONDS, self._sweep) if self._open else None

    def _check(self, connection: OpenConnection, now: float) -> None:
        size = connection.transport.get_write_buffer_size()
        unread = self._unread.get(connection)
        if not size:
            self._unread.pop(connection, None)
        # It grows where the caller has read enough to be sent more.
        elif unread is None or size > unread.size or unread.size - size >= MIN_READ_BYTES:
            self._unread[connection] = _Unread(size, now + WRITE_SECONDS)
        elif now > unread.deadline:
            connection.transport.abort()


class Handshakes:
    """Connections that have not finished their TLS handshake: beyond `most` the oldest gives way.

    Args:
        most: most handshakes at a time.
    """

    def __init__(self, most: int = 128) -> None:
        self._most = min(most, _most_by_descriptors() // 8 or 1)
        self._waiting: dict[asyncio.Transport, None] = {}

    @contextlib.contextmanager
    def wait(self, transport: asyncio.Transport) -> Iterator[None]:
        """Count a handshake for as long as the block lasts."""
        self._waiting[transport] = None
        if len(self._waiting) > self._most:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.abort()
        try:
            yield
        finally:
            self._waiting.pop(transport, None)

    def close(self) -> None:
        """End all of them."""
        for transport in tuple(self._waiting):
            transport.abort()


def _most_by_descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else max(soft // 2, soft - _OTHER_DESCRIPTORS)
