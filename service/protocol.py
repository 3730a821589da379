"""HTTP/1.1 on one connection: uvicorn's protocol, with bodies put where they belong and heads that may not dawdle."""

import asyncio
import json
import logging
import sys
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.body import CONNECTION, GONE
from service.errors import HeaderTooLarge, MalformedRequest, ServiceError
from service.identity import new_id

log = logging.getLogger(__name__)

HEAD_SECONDS = 10.0
"""From a request's first byte, or a new connection, to the end of its headers; a place is taken only after these."""

MAX_HEADER_BYTES = 16 * 2**10
"""Of a request's first line and headers, where nothing else is said."""

CLOSE_SECONDS = 1.0
"""From the last answer of a connection to its end, for a caller that does not close it."""

_SCRATCH_BYTES = 2**18


class BodyReader(asyncio.BufferedProtocol):
    """Stands in for a connection's protocol while the rest of a body comes, which the parser need not see.

    Nothing is read past the end of the body: what comes after it is another request.

    Args:
        owner: whose place it takes.
        length: how many bytes are to come.
    """

    def __init__(self, owner: "GateProtocol", length: int) -> None:
        self.owner = owner
        self.length = length

    def buffer_updated(self, nbytes: int) -> None:
        """So many came."""
        self.length -= nbytes
        if not self.length:
            self.owner.end_body()

    def connection_lost(self, exc: Exception | None) -> None:
        """The owner knows what to do."""
        self.owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """The owner knows what to do."""
        self.owner.pause_writing()

    def resume_writing(self) -> None:
        """The owner knows what to do."""
        self.owner.resume_writing()


class Filling(BodyReader):
    """Puts the rest of a body from the socket straight into its buffer, `rest`."""

    def __init__(self, owner: "GateProtocol", rest: memoryview) -> None:
        super().__init__(owner, len(rest))
        self._rest = rest

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Where the next bytes go."""
        return self._rest[-self.length :]


class Discarding(BodyReader):
    """Throws the rest of a body away: its request has been answered, and the caller may not look before it is sent."""

    # What is written there is never read, so that all connections may write to the same bytes.
    _scratch = memoryview(bytearray(_SCRATCH_BYTES))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Where the next bytes go."""
        return self._scratch[: self.length]


class Closing(Discarding):
    """Throws away what comes after the last answer: unread it would reset the connection, and the answer be lost."""

    def __init__(self, owner: "GateProtocol") -> None:
        super().__init__(owner, sys.maxsize)


class GateProtocol(HttpToolsProtocol):
    """What uvicorn's protocol does not do.

    A body that a request has reserved room for goes straight into its buffer: uvicorn would copy it five times and
    stop the connection every 64 kB. A body whose request was refused is passed over without a copy. A connection that
    sends no request, or half of one, is closed. What is no HTTP is answered as every other error is, and so is a head
    that is longer than it may be, before all of it is there. Who offers another protocol is answered in this one.

    Args:
        max_header_bytes: of a request's first line, its headers and what follows a body in chunks.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _is_reading_into = False
    _seen = 0
    _head_bytes = 0
    # Received since the parser last said something: it keeps what has no end yet.
    _silent_bytes = 0
    _is_silent = True
    # While the parser is told again how the body comes, which the request itself has said.
    _is_retelling = False
    _fault: ServiceError | None = None

    def __init__(self, *given: Any, max_header_bytes: int = MAX_HEADER_BYTES, **named: Any) -> None:
        super().__init__(*given, **named)
        self._max_header_bytes = max_header_bytes

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
        if self.transport.is_closing():
            return  # TLS hands on what it had, and nobody would be there to answer.
        rest = memoryview(data)
        while rest:
            # Of a head in pieces no larger than it may be: only of one in which nothing ends is it known that all of it
            # belongs to what has no end.
            length = len(rest) if self._is_in_body() else self._max_header_bytes
            self._parse(rest[:length])
            if self.transport.get_protocol() is not self:
                return  # It was refused.
            rest = rest[length:]
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._wait_for_head()

    def _parse(self, data: memoryview) -> None:
        self._is_silent = True
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(self._fault or MalformedRequest("the request is no HTTP/1.1"))
            return
        self._silent_bytes = self._silent_bytes + len(data) if self._is_silent else 0
        if self._silent_bytes > self._max_header_bytes:
            self._refuse(self._header_too_large())

    def _feed(self, data: memoryview) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._go_on_with_body()
            else:
                return

    def _go_on_with_body(self) -> None:
        """Take what follows for the body that was announced; the parser takes it for the protocol that was offered."""
        framing = [header for header in self.headers if header[0] in (b"content-length", b"transfer-encoding")]
        self.parser = _make_parser(self)
        self._is_retelling = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n")
        for header in framing:
            self.parser.feed_data(b"%b: %b\r\n" % header)
        # Without a body its end is told at once.
        self.parser.feed_data(b"\r\n")
        self._is_retelling = False

    def _is_in_body(self) -> bool:
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete

    def on_url(self, url: bytes) -> None:
        """Count a part of the first line."""
        if self._is_retelling:
            return
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        if self._is_retelling:
            return
        self._count_head(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request begins."""
        if self._is_retelling:
            return
        self._is_silent = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_begin(self) -> None:
        """Let the request find its connection."""
        if self._is_retelling:
            return
        super().on_message_begin()
        self._seen = 0
        self._head_bytes = 0
        self.scope[CONNECTION] = self  # type: ignore[literal-required]

    def on_body(self, body: bytes) -> None:
        """Count what the parser sees of a body."""
        self._is_silent = False
        self._seen += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of it has come, unless another protocol was offered: the parser has then not looked for a body."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Read past the rest of a body that was answered before it had come, at the least cost."""
        super().on_response_complete()
        if self.transport.is_closing() or not self.cycle.response_complete:
            return  # Where requests are sent in one go the next has begun by now.
        self.cycle.body.clear()  # Beginnings of refused bodies would be kept until the next request.
        if self.cycle.more_body and (rest := self._announced() - self._seen) > 0:
            self.transport.set_protocol(Discarding(self, rest))

    def read_into(self, rest: memoryview) -> None:
        """Put the rest of the body there, all of it; `receive` then says when it has come."""
        self._is_reading_into = True
        self.transport.set_protocol(Filling(self, rest))

    def end_body(self) -> None:
        """All of it has come. The parser has not seen it: the next request has one of its own."""
        self._is_reading_into = False
        self.transport.set_protocol(self)
        self.parser = _make_parser(self)
        self.on_message_complete()

    def stop_reading(self) -> None:
        """The body is given up in the middle. Where the next request begins nobody knows: there is none."""
        if self._is_reading_into:
            self._is_reading_into = False
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            self.transport.set_protocol(self)

    def shutdown(self) -> None:
        """Close it once it is idle; over TLS without waiting for a caller that does not answer to that."""
        super().shutdown()
        if self.scheme == "https" and self.transport.is_closing():
            self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def _refuse(self, error: ServiceError) -> None:
        """Answer what is no request, and close; a whole one before it is answered as if it had been the last."""
        if self.cycle is not None and not self.cycle.response_complete:
            if not self.cycle.more_body:
                self.cycle.keep_alive = False
                self.flow.pause_reading()
                return
            if self.cycle.response_started:
                self.transport.close()  # Whatever was said now would be taken for a part of the answer.
                return
            self._give_up_cycle()
        request_id = new_id()
        log.info("refused: %s", error.detail, extra={"fields": {"request_id": request_id, "status": error.status}})
        body = json.dumps(error.problem(request_id)).encode()
        head = b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[error.status] + head + body)
        self._close_slowly()

    def _give_up_cycle(self) -> None:
        """Its body will not come: who reads it is told so, and what it answers goes nowhere."""
        self.cycle.disconnected = True
        self.cycle.message_event.set()

    def _close_slowly(self) -> None:
        self.transport.set_protocol(Closing(self))
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._stop_waiting()
        self._head_timer = self.loop.call_later(CLOSE_SECONDS, self._give_up)

    def _count_head(self, length: int) -> None:
        self._is_silent = False
        self._head_bytes += length
        if self._head_bytes > self._max_header_bytes:
            self._fault = self._header_too_large()
            raise ValueError  # The parser stops.

    def _header_too_large(self) -> HeaderTooLarge:
        return HeaderTooLarge(f"the head of the request has more than {self._max_header_bytes:,} bytes")

    def _announced(self) -> int:
        lengths = [int(value) for name, value in self.headers if name == b"content-length"]
        return lengths[0] if lengths else 0

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


def _make_parser(protocol: GateProtocol) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # As uvicorn's are.
    return parser
