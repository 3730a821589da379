"""Protocols that stand in for a connection's own while bytes pass that its parser need not see."""

import asyncio
import sys
from typing import Protocol

_SCRATCH_BYTES = 2**18


class Owner(Protocol):
    """The protocol whose connection is read in the meantime."""

    def end_body(self) -> None:
        """Take over again: all of the body has come."""

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio calls it."""

    def pause_writing(self) -> None:
        """As asyncio calls it."""

    def resume_writing(self) -> None:
        """As asyncio calls it."""


class BodyReader(asyncio.BufferedProtocol):
    """Reads the rest of a body, and nothing past its end: what comes after it is another request.

    Args:
        owner: whose place it takes.
        length: how many bytes are to come.
    """

    def __init__(self, owner: Owner, length: int) -> None:
        self.owner = owner
        self.length = length

    def buffer_updated(self, nbytes: int) -> None:
        """Count what came."""
        self.length -= nbytes
        if not self.length:
            self.owner.end_body()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner."""
        self.owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell the owner."""
        self.owner.pause_writing()

    def resume_writing(self) -> None:
        """Tell the owner."""
        self.owner.resume_writing()


class Filling(BodyReader):
    """Puts the rest of a body from the socket straight into its buffer, `rest`."""

    def __init__(self, owner: Owner, rest: memoryview) -> None:
        super().__init__(owner, len(rest))
        self._rest = rest

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return where the next bytes go."""
        return self._rest[-self.length :]


class Discarding(BodyReader):
    """Throws the rest of a body away: its request has been answered, and the caller may not look before it is sent."""

    # What is written there is never read, so that all connections may write to the same bytes.
    _scratch = memoryview(bytearray(_SCRATCH_BYTES))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return where the next bytes go."""
        return self._scratch[: self.length]


class Closing(Discarding):
    """Throws away what comes after the last answer: unread it would reset the connection, and the answer be lost."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner, sys.maxsize)
