"""HTTP/1.1 on one connection: uvicorn's protocol, with bodies put where they belong and heads that may not dawdle."""

import asyncio
import json
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.body import GONE, SINK
from service.errors import MalformedRequest
from service.identity import new_id

HEAD_SECONDS = 10.0
"""From a request's first byte, or a new connection, to the end of its headers; a place is taken only after these."""


class GateProtocol(HttpToolsProtocol):
    """What uvicorn's protocol does not do.

    A body that a request has reserved room for goes straight into its buffer: uvicorn would copy it three times and
    stop the connection every 64 kB. A connection that sends no request, or half of one, is closed. What is no HTTP is
    answered as every other error is.
    """

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more, and tell whoever works on a request that nobody does."""
        self._stop_waiting()
        if self.cycle is not None and (leave := self.cycle.scope.get(GONE)):
            leave()  # type: ignore[operator]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; what is left is the beginning of a head, or a body that somebody reads."""
        super().data_received(data)
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """The request begins."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Put a part of a body where its request wants it."""
        sink: Callable[[bytes], None] | None = self.scope.get(SINK)  # type: ignore[assignment]
        if sink is None or self.cycle.response_complete:
            super().on_body(body)
        else:
            sink(body)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and close; a whole request before it is answered as if it had been the last."""
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        error = MalformedRequest(msg)
        body = json.dumps(error.problem(new_id())).encode()
        head = b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[error.status] + head + body)
        self.transport.close()

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()
