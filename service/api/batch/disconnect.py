"""Detect a disconnect without reading, and abort a connection: ASGI offers neither."""

import asyncio
import select

from starlette.types import Scope

from service.http.scope_state import request_state


class ConnectionWatch:
    """Watches the connection of a request; without access to the connection it has no effect."""

    def __init__(self, scope: Scope) -> None:
        connection = request_state(scope).connection
        self._transport: asyncio.Transport | None = connection.transport if connection else None
        self._poll = select.poll()
        if self._transport is not None and not self._transport.is_closing():
            # POLLHUP and POLLERR are always reported.
            self._poll.register(self._transport.get_extra_info("socket").fileno(), 0)

    def is_gone(self) -> bool:
        """Return whether the connection is closed or was reset, even while bytes are unread.

        An orderly close behind unread bytes may be a half-close by a caller that waits for its answer: writing the next
        line tells.
        """
        if self._transport is None:
            return False
        return self._transport.is_closing() or bool(self._poll.poll(0))

    def abort(self) -> None:
        """Close the connection and discard unsent bytes."""
        if self._transport is not None:
            self._transport.abort()
