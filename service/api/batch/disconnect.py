"""What ASGI has no word for: whether the caller is gone while nothing is read, and how to cut off who reads nothing."""

import asyncio
import select

from starlette.types import Scope

from service.http.scope_state import request_state


class ConnectionWatch:
    """Watches the connection that a request came by; where the server knows of none it sees and does nothing."""

    def __init__(self, scope: Scope) -> None:
        connection = request_state(scope).connection
        self._transport: asyncio.Transport | None = connection.transport if connection else None
        self._poll = select.poll()
        if self._transport is not None and not self._transport.is_closing():
            # POLLHUP and POLLERR are always told.
            self._poll.register(self._transport.get_extra_info("socket").fileno(), 0)

    def is_gone(self) -> bool:
        """Return whether the connection is closed or was reset, even where bytes of the caller are still unread.

        One that was closed in good order behind such bytes may be half-closed by a caller that waits for its answer:
        the next line to it finds out.
        """
        if self._transport is None:
            return False
        return self._transport.is_closing() or bool(self._poll.poll(0))

    def abort(self) -> None:
        """Close it without sending what is still to be sent."""
        if self._transport is not None:
            self._transport.abort()
