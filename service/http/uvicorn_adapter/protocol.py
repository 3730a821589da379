"""HTTP/1.1 on one connection: zero-copy bodies, one request at a time, limits in bytes and time."""

import asyncio
from typing import Any, cast

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import HeaderTooLarge, ServiceError
from service.http.connections import Connections
from service.http.framing import HEAD_END, check_framing, check_target, may_be_request, refused_by_parser
from service.http.half_close import HalfClose
from service.http.raw_responses import make_refusal
from service.http.scope_state import request_state
from service.http.uvicorn_adapter.body_protocols import BodyDiscarder, ZeroCopyBodyReader
from service.http.uvicorn_adapter.closing import CLOSE_SECONDS, Closing
from service.http.uvicorn_adapter.head_size import HeadSize
from service.http.uvicorn_adapter.head_writer import HeadWriter, UnchunkedWriter

HEAD_SECONDS = 10.0
"""Timeout of request headers (slow-loris protection), from the first byte or a new connection."""


class GateProtocol(HttpToolsProtocol):
    """Adds limits and zero-copy bodies to uvicorn's protocol.

    Bodies: an admitted body is received directly into its buffer (uvicorn copies it five times), the body of a refused
    request is discarded without a copy. Timeouts: a connection without a complete request head is closed, as is one
    whose caller does not read. Pipelining: requests are parsed one at a time; while one is answered, back-pressure
    holds the next. Errors: malformed and oversized heads are answered like every other error. Upgrade offers are
    ignored. Half-closed connections are answered, except over TLS, which does not support them.

    Args:
        connections: counts those of this port.
        max_header_bytes: limit of request line, headers and trailers together.
    """

    _closing: Closing
    _is_reading_into = False
    _seen = 0
    # While a new parser is fed the framing headers of the current request again.
    _is_replaying = False
    _length: int | None = 0  # Of the body; None if chunked.
    _is_head_complete = False
    _unparsed = b""  # Received bytes.
    _parsed = 0  # The number of them that are parsed.
    _writer: HeadWriter
    _tail = b""  # The last parsed bytes: the end of a head may be split.
    _is_half_closed = False
    _is_kept_by_body = False

    def __init__(self, *arguments: Any, connections: Connections, max_header_bytes: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._all = connections
        self._head_size = HeadSize(max_header_bytes)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, or close the connection if there are too many."""
        super().connection_made(transport)
        self._closing = Closing(transport, self.loop)
        if not self._all.enter(self):
            transport.abort()
            return
        self._closing.after(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop timers, cancel the work on the request, and release what is left of its body."""
        self._closing.cancel()
        self._all.leave(self)
        if self.cycle is not None and (on_disconnect := request_state(_typed(self.cycle.scope)).on_disconnect):
            on_disconnect()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # Uvicorn leaves the timer of a connection that was reset, which holds it.
        # The connection, its parser and its requests refer to each other until a garbage collection.
        self._unparsed = b""
        if self.cycle is not None:
            self.cycle.body.clear()

    def data_received(self, data: bytes) -> None:
        """Parse complete requests and buffer the rest."""
        if self.transport.is_closing():
            return  # TLS delivers buffered bytes even after closing.
        self._unparsed = self._unparsed[self._parsed :] + data if self._unparsed else data
        self._parsed = 0
        self._parse_unparsed()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer a complete request; an incomplete one ends the connection."""
        if self.scheme == "https" or not self._is_answering():
            return False
        if not self._is_half_closed:
            self._is_half_closed = True
            self.cycle.keep_alive = bool(self._unparsed)
            HalfClose(self.transport, is_answering=self._is_answering, may_probe=self._may_probe)
        return True

    def _may_probe(self) -> bool:
        return not self.cycle.response_started and self.scope["http_version"] == "1.1"

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

    def _parse_unparsed(self) -> None:
        """Parse up to the end of an unanswered request; back-pressure holds the bytes behind it."""
        data = self._unparsed
        view = memoryview(data)
        while self._parsed < len(data) and not self._is_answering():
            start, self._parsed = self._parsed, self._find_end(data, self._parsed)
            self._parse(view[start : self._parsed])
            if self.transport.get_protocol() is not self or self.transport.is_closing():
                self._unparsed = b""
                return  # The request was refused, or was the last one.
            self._tail = (self._tail + data[max(start, self._parsed - 3) : self._parsed])[-3:]
        if self._parsed < len(data):
            self._keep_unparsed()
            return
        self._unparsed = b""
        is_idle = self.timeout_keep_alive_task is not None
        if not is_idle and not self._closing.is_due and (self.cycle is None or self.cycle.response_complete):
            self._closing.after(HEAD_SECONDS)

    def _keep_unparsed(self) -> None:
        self.flow.pause_reading()
        if not may_be_request(self._unparsed, self._parsed, self._head_size.limit):
            self.cycle.keep_alive = False
            self._unparsed = b""

    def _find_end(self, data: bytes, start: int) -> int:
        """Return the end of the next head or body: parsing stops there, because a request may be complete."""
        limit = len(data)
        if self.cycle is not None and self.cycle.more_body:
            if self._length is not None:
                return min(limit, start + self._length - self._seen)
        else:
            # In pieces of the size limit at most, so that a line without an end is detected within one piece.
            limit = min(limit, start + self._head_size.limit)
        if (position := (self._tail + data[start : start + 3]).find(HEAD_END)) >= 0:
            return start + position + len(HEAD_END) - len(self._tail)
        position = data.find(HEAD_END, start, limit)
        return limit if position < 0 else position + len(HEAD_END)

    def _parse(self, data: memoryview) -> None:
        self._head_size.begin_piece()
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
            self._head_size.end_piece(len(data))
        except HeaderTooLarge as error:
            self._refuse(error)
        except httptools.HttpParserError as error:
            fault = error.__context__  # Of a callback.
            start = b"" if self._is_head_complete else bytes(data[:16])  # A body may begin with any bytes.
            self._refuse(fault if isinstance(fault, ServiceError) else refused_by_parser(error, start))

    def _feed(self, data: memoryview) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._resume_with_body()
            else:
                return

    def _resume_with_body(self) -> None:
        """Parse the bytes behind an Upgrade offer as the announced body, with a new parser."""
        framing = [header for header in self.headers if header[0] in (b"content-length", b"transfer-encoding")]
        self.parser = _make_parser(self)
        self._is_replaying = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n")
        for header in framing:
            self.parser.feed_data(b"%b: %b\r\n" % header)
        # Without a body this completes the request.
        self.parser.feed_data(b"\r\n")
        self._is_replaying = False

    def on_url(self, url: bytes) -> None:
        """Count a part of the request line."""
        if self._is_replaying:
            return
        self._head_size.add(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        if self._is_replaying:
            return
        self._head_size.add(len(name) + len(value) + 4)
        if not self._is_head_complete:  # A trailer would look like a header that access control has checked.
            super().on_header(name, value.rstrip(b" \t"))  # The parser strips only the blanks before a value.

    def on_headers_complete(self) -> None:
        """Check the framing and start the request."""
        if self._is_replaying:
            return
        check_target(self.url)
        self._length = check_framing(self.headers, version=self.parser.get_http_version())
        writer = HeadWriter
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # Its callers take an interim answer for the final one.
            writer = UnchunkedWriter
        self._head_size.note_callback()
        self._is_head_complete = True
        self._closing.cancel()
        self._all.begin(self)
        super().on_headers_complete()
        # Until the body has come: a caller that is refused without `100 Continue` may send a request in its place.
        self._is_kept_by_body = self.expect_100_continue and self.cycle.keep_alive
        if self._is_kept_by_body:
            self.cycle.keep_alive = False
        self.cycle.transport = self._writer = writer(self.transport, self.loop, self._close_answered)

    def on_message_begin(self) -> None:
        """Start a request and attach the connection to its state."""
        if self._is_replaying:
            return
        super().on_message_begin()
        self._is_head_complete = False
        self._seen = 0
        self._head_size.begin()
        request_state(_typed(self.scope)).connection = self

    def on_body(self, body: bytes) -> None:
        """Count body bytes that pass through the parser."""
        self._head_size.note_callback()
        self._seen += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Complete the request, unless an Upgrade was offered: the parser then skipped the body."""
        if self.parser.should_upgrade():
            return
        if self.cycle.response_complete:
            self.cycle.more_body = False
            self._closing.cancel()
            if not self.cycle.keep_alive:
                self.transport.close()
                return
            self._all.rest(self)
            self._unset_keepalive_if_required()  # Idle from now on; bytes of the body stopped the timer.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        elif self._is_kept_by_body and not (self._closing.is_shut_down or self.cycle.response_started):
            self.cycle.keep_alive = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with buffered bytes, or discard the rest of a body that was answered early."""
        self._writer.flush()  # No body follows the head of a HEAD.
        super().on_response_complete()
        if self.transport.is_closing():
            return
        self.cycle.body.clear()  # Frees the beginning of a refused body before the next request.
        if self.cycle.more_body:
            self._all.rest(self)  # Its answer is sent: a caller whose body does not come must not keep others out.
            self._closing.after_rest(is_last=not self.cycle.keep_alive)
            if self._length is not None:
                self.transport.set_protocol(BodyDiscarder(self, self._length - self._seen))
        elif self._unparsed:
            self.flow.pause_reading()
            self.loop.call_soon(self._resume)
        else:
            self._all.rest(self)

    def _close_answered(self) -> None:
        """Close, unless the caller still sends its body: closing on unread bytes would lose the answer."""
        if not (self.cycle.response_complete and self.cycle.more_body):
            self.transport.close()

    def _resume(self) -> None:
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._parse_unparsed()
        if self._is_half_closed and not self._unparsed:
            if self._is_answering():
                self.cycle.keep_alive = False
            else:
                self.transport.close()  # The rest is an incomplete request.

    def read_into(self, rest: memoryview) -> None:
        """Receive the rest of the body into a buffer of that size; `receive` then tells when it is complete."""
        self._is_reading_into = True
        self.transport.set_protocol(ZeroCopyBodyReader(self, rest))

    def rest_of_body(self) -> int:
        """Return the bytes still missing from the buffer of `read_into`."""
        reader = self.transport.get_protocol()
        return reader.length if isinstance(reader, ZeroCopyBodyReader) else 0

    def end_body(self) -> None:
        """Complete the body. The parser has not seen it: the next request needs a new parser."""
        self._is_reading_into = False
        self._seen = self._length or 0
        self._tail = b""
        self.transport.set_protocol(self)
        self.parser = _make_parser(self)
        self.on_message_complete()

    def stop_reading(self) -> None:
        """Abandon an incomplete body. The start of the next request is unknown, so the connection ends."""
        if self._is_reading_into:
            self._is_reading_into = False
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            if isinstance(reader := self.transport.get_protocol(), ZeroCopyBodyReader):
                self._seen = (self._length or 0) - reader.length
                reader.release()
            self.transport.set_protocol(self)

    def shutdown(self) -> None:
        """Close once idle; over TLS without waiting long for the caller's close notification."""
        self._closing.is_shut_down = True
        super().shutdown()
        # Its refusal is sent, and the caller may never stop sending.
        is_refused = self.cycle is not None and self.cycle.disconnected
        if is_refused or (self.scheme == "https" and self.transport.is_closing()):
            self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def _refuse(self, error: ServiceError) -> None:
        """Answer malformed HTTP and close; a complete request before it is answered as the last one."""
        if self.cycle is not None and not self.cycle.response_complete:
            if not self.cycle.more_body:
                self.cycle.keep_alive = False
                self.flow.pause_reading()
                return
            if self.cycle.response_started:
                self.transport.close()  # More bytes would become part of the started answer.
                return
            # The reader sees a disconnect, and its answer is discarded.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.cycle is None or not self.cycle.response_complete or not self.cycle.more_body:
            self.transport.write(make_refusal(error, self._all.on_refusal))
        self._all.rest(self)
        self.flow.resume_reading()
        self._closing.once_silent(self)


def _make_parser(protocol: GateProtocol) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # Like uvicorn's parser.
    return parser


def _typed(scope: object) -> Scope:
    return cast("Scope", scope)  # Uvicorn types the dictionary by key.
