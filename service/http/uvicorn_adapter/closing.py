"""Close a connection after a timeout, and without losing an answer that its caller has not read yet."""

import asyncio

from service.http.uvicorn_adapter.body_protocols import ClosingDiscarder, ConnectionProtocol

CLOSE_SECONDS = 1.0
"""Timeout of closing, after the last answer of a connection and the last bytes of its caller."""

DISCARD_SECONDS = 30.0
"""Timeout of the rest of a request that is already answered."""


class Closing:
    """Closes one connection: it has one timeout at a time.

    Args:
        transport: of the connection.
        loop: the event loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self.is_shut_down = False

    @property
    def is_due(self) -> bool:
        """Whether a timeout runs."""
        return self._timer is not None

    def after(self, seconds: float) -> None:
        """Close after a timeout, which replaces an earlier one."""
        self.cancel()
        self._timer = self._loop.call_later(seconds, self._close)

    def after_rest(self, *, is_last: bool) -> None:
        """Close unless the rest of an answered request arrives in time.

        After the last answer of the connection the caller may read to the end of the connection, so this half of it is
        closed at once; TLS has no half-closed connections.
        """
        self.after(self._discard_seconds)
        if is_last:
            self._end_answers()

    def once_silent(self, replaced: ConnectionProtocol) -> None:
        """Discard what arrives, and close once no bytes arrive: closing on unread bytes would lose the answer."""
        discarder = ClosingDiscarder(replaced)
        self._transport.set_protocol(discarder)
        self._end_answers()
        self._check_later(discarder, self._discard_seconds)

    def cancel(self) -> None:
        """Stop the timeout."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _discard_seconds(self) -> float:
        return CLOSE_SECONDS if self.is_shut_down else DISCARD_SECONDS

    def _end_answers(self) -> None:
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _check_later(self, discarder: ClosingDiscarder, seconds: float) -> None:
        length = discarder.length

        def check() -> None:
            if discarder.length == length or seconds <= CLOSE_SECONDS:
                self._close()
            else:
                self._check_later(discarder, seconds - CLOSE_SECONDS)

        self.cancel()
        self._timer = self._loop.call_later(CLOSE_SECONDS, check)

    def _close(self) -> None:
        self._timer = None
        if not self._transport.is_closing():
            self._transport.close()
