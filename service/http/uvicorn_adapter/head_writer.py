"""Sends the head of an answer together with the body behind it: one system call and one packet instead of two."""

import asyncio
import socket
import struct
from collections.abc import Callable

_CONTINUE = b"HTTP/1.1 100 "
_CHUNKED = b"transfer-encoding: chunked\r\n"
_RESET = struct.pack("ii", 1, 0)
"""The value of SO_LINGER with which closing resets the connection."""


class HeadWriter(asyncio.Transport):
    """Stands in for the transport of one request: holds the head until the body, or until the event loop's next turn.

    It does not know the request: a reference back to it would keep both in memory until a garbage collection.

    Args:
        transport: of the connection.
        loop: the event loop.
        close: closes the connection, or decides to keep it open for the rest of the request.
    """

    __slots__ = ("_close", "_head", "_is_sent", "_loop", "_transport")

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, close: Callable[[], object]
    ) -> None:
        super().__init__()
        self._close = close
        self._loop = loop
        self._transport = transport
        self._head = b""
        self._is_sent = False

    def write(self, data: bytes) -> None:  # type: ignore[override]  # Uvicorn writes bytes.
        """Send `data`, or hold it if it is the head. A line `100 Continue` comes before that."""
        if self._head:
            data, self._head = self._head + data, b""
        elif not self._is_sent and not data.startswith(_CONTINUE):
            self._is_sent, self._head = True, data
            self._loop.call_soon(self.flush)
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send the head if it is still held."""
        data, self._head = self._head, b""
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Send what is held, then close."""
        self.flush()
        self._close()

    def is_closing(self) -> bool:
        """Return whether the connection is closing."""
        return self._transport.is_closing()


class UnchunkedWriter(HeadWriter):
    """Sends a body of unknown length without chunks, which HTTP/1.0 does not have: it ends with the connection.

    Uvicorn writes chunks for every version, each in one call. A body that stops halfway, as an export whose database
    fails, ends with a reset: nginx would pass it on as complete otherwise.
    """

    __slots__ = ("_is_within_body",)

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, close: Callable[[], object]
    ) -> None:
        super().__init__(transport, loop, close)
        self._is_within_body = False

    def write(self, data: bytes) -> None:  # type: ignore[override]  # Uvicorn writes bytes.
        """Send the head, or a part of the body."""
        if not self._is_sent:
            self._is_within_body = _CHUNKED in data
            data = data.replace(_CHUNKED, b"")
        elif self._is_within_body and data:
            digits, _, rest = data.partition(b"\r\n")
            size = int(digits, 16)
            self._is_within_body = size > 0 and len(rest) == size + 2  # The last chunk of all is empty.
            data = rest[:size]
        super().write(data)

    def close(self) -> None:
        """Close; within the body, reset the connection."""
        if self._is_within_body and not self.is_closing():
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        super().close()
