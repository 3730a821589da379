"""What ASGI has no word for: whether the caller is gone while nothing is read, and how to cut off who reads nothing."""

import asyncio
import select

from starlette.types import Scope

from service.body import CONNECTION

# Where there is no such flag, a caller is seen to be gone once its connection is reset.
_HUNG_UP = getattr(select, "POLLRDHUP", 0)


class Watch:
    """Watches the connection that a request came by; where the server knows of none it sees and does nothing."""

    def __init__(self, scope: Scope) -> None:
        connection = scope.get(CONNECTION)
        self._transport: asyncio.Transport | None = connection.transport if connection else None
        self._poll = select.poll()
        if self._transport is not None and not self._transport.is_closing():
            self._poll.register(self._transport.get_extra_info("socket").fileno(), _HUNG_UP)

    def is_gone(self) -> bool:
        """Whether the caller has closed it, even where bytes of its are still unread.

        Where it had more than fits on the way and then closed in good order, only the next line to it finds out.
        """
        if self._transport is None:
            return False
        return self._transport.is_closing() or bool(self._poll.poll(0))

    def abort(self) -> None:
        """Close it without sending what is still to be sent."""
        if self._transport is not None:
            self._transport.abort()
