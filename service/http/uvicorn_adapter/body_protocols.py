"""Protocols that replace a connection's protocol while body bytes bypass its HTTP parser."""

import asyncio
import sys
from typing import Protocol

_SCRATCH_BYTES = 2**18
_NO_BUFFER = memoryview(b"")


class ConnectionProtocol(Protocol):
    """The replaced protocol, which continues once the body is complete."""

    def end_body(self) -> None:
        """Continue: the body is complete."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of the connection, as asyncio calls it."""

    def pause_writing(self) -> None:
        """Apply back-pressure, as asyncio calls it."""

    def resume_writing(self) -> None:
        """Release back-pressure, as asyncio calls it."""


class BodyReader(asyncio.BufferedProtocol):
    """Reads the rest of a body and stops at its end: the bytes behind it are another request.

    Args:
        replaced: the protocol that continues afterwards.
        length: bytes still to come.
    """

    def __init__(self, replaced: ConnectionProtocol, length: int) -> None:
        self.replaced = replaced
        self.length = length

    def buffer_updated(self, nbytes: int) -> None:
        """Count received bytes."""
        self.length -= nbytes
        if not self.length:
            self.replaced.end_body()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forward to the replaced protocol."""
        self.replaced.connection_lost(exc)

    def pause_writing(self) -> None:
        """Forward to the replaced protocol."""
        self.replaced.pause_writing()

    def resume_writing(self) -> None:
        """Forward to the replaced protocol."""
        self.replaced.resume_writing()


class ZeroCopyBodyReader(BodyReader):
    """Receives the rest of a body from the socket directly into its buffer `rest`."""

    def __init__(self, replaced: ConnectionProtocol, rest: memoryview) -> None:
        super().__init__(replaced, len(rest))
        self._rest = rest

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return the free part of the buffer."""
        return self._rest[-self.length :]

    def buffer_updated(self, nbytes: int) -> None:
        """Count received bytes."""
        if nbytes == self.length:
            self.release()
        super().buffer_updated(nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forward to the replaced protocol."""
        self.release()
        super().connection_lost(exc)

    def release(self) -> None:
        """Give up the buffer: uvloop's transports keep their last protocol with a buffer while the connection idles."""
        self._rest = _NO_BUFFER


class BodyDiscarder(BodyReader):
    """Discards the rest of a body: its request is answered, but callers may read the answer only after sending."""

    # Shared by all connections: its content is never read.
    _scratch = memoryview(bytearray(_SCRATCH_BYTES))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return the scratch buffer."""
        return self._scratch[: self.length]


class ClosingDiscarder(BodyDiscarder):
    """Discards everything behind the last answer: unread bytes would reset the connection and lose that answer."""

    def __init__(self, replaced: ConnectionProtocol) -> None:
        super().__init__(replaced, sys.maxsize)
