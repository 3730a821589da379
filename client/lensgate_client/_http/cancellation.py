"""Adapter for private parts of httpx and httpcore: the connections of cancelled requests.

httpcore awaits locks while it opens and closes a connection. A request that is cancelled there stays in its pool
forever, with an open socket, and so do most requests in a cancelled scope of anyio, which cancels every step of the
cleanup. The private parts are `_transport` and `_mounts` of `httpx.AsyncClient`, `_pool` of `httpx.AsyncHTTPTransport`,
and `_requests` and `_connections` of `httpcore.AsyncConnectionPool`; `pyproject.toml` has an upper bound for both
packages.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

_EXTENSION = "lensgate"


class LiveRequests:
    """The requests of a client that are in progress; connections of others are closed.

    Args:
        client: sends only requests with the extensions of `request`.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        pools = (getattr(transport, "_pool", None) for transport in (client._transport, *client._mounts.values()))
        self._pools = [pool for pool in pools if isinstance(pool, httpcore.AsyncConnectionPool)]
        self._live: set[object] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @contextmanager
    def request(self) -> Iterator[dict[str, Any]]:
        """Yield the extensions of a request that lives until the end of the block."""
        token = object()
        self._live.add(token)
        try:
            yield {_EXTENSION: token}
        except asyncio.CancelledError:
            self._live.remove(token)
            self._discard()
            raise
        finally:
            self._live.discard(token)

    def _discard(self) -> None:
        """Close the connections that are neither idle nor used by a request in progress."""
        for pool in self._pools:
            pool._requests = [each for each in pool._requests if each.request.extensions[_EXTENSION] in self._live]
            busy = {id(each.connection) for each in pool._requests}
            for connection in pool.connections:
                if not (id(connection) in busy or connection.is_idle() or connection.is_closed()):
                    pool._connections.remove(connection)
                    # The current task may be cancelled in each step.
                    task = asyncio.create_task(connection.aclose())
                    self._closing.add(task)
                    task.add_done_callback(self._closing.discard)
