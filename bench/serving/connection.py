"""A non-blocking keep-alive connection of the open loop, for one exchange at a time."""

import socket
from dataclasses import dataclass
from enum import StrEnum

from bench.serving.response_parser import HttpResponse, ResponseParser

_PIECE = 1 << 18
CONTINUE_SECONDS = 1.0
"""Like curl: without 100 Continue within this time, send the body anyway."""


class ExchangeEnd(StrEnum):
    """How an exchange ended."""

    ANSWERED = "answered"
    LOST = "lost"
    """The connection closed, or did not speak HTTP, before the response was complete."""
    TIMEOUT = "timeout"
    UNSENT = "unsent"
    """No connection became free within the timeout of a response."""


@dataclass(slots=True, eq=False)
class Exchange:
    """A request and its result; times in seconds of one clock."""

    due: float
    head: bytes
    body: memoryview
    waits: bool
    """Whether the body is held back until 100 Continue is received."""
    begun: float = 0.0
    ended: float = 0.0
    end: ExchangeEnd | None = None
    status: int = 0
    retry_after: int | None = None
    continue_timed_out: bool = False
    """Whether the body was sent without 100 Continue after `CONTINUE_SECONDS`."""
    sent: int = 0
    """Bytes of the body that were handed to the kernel."""

    @property
    def is_early(self) -> bool:
        """Whether the response came before the whole body was sent."""
        return self.sent < len(self.body)

    def finish(self, end: ExchangeEnd, now: float, response: HttpResponse | None = None) -> None:
        """Record the end."""
        self.end, self.ended = end, now
        if response:
            self.status, self.retry_after = response.status, response.retry_after


class NonBlockingConnection:
    """A connection to 127.0.0.1:`port`. `exchange` is the one it carries, None while it is free."""

    def __init__(self, port: int) -> None:
        self.exchange: Exchange | None = None
        self.is_open = True
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect_ex(("127.0.0.1", port))
        self._is_connected = False
        self._head = memoryview(b"")
        self._parser = ResponseParser()

    def fileno(self) -> int:
        """For edge-triggered epoll: `handle` reads until the socket would block."""
        return self._socket.fileno()

    def begin(self, exchange: Exchange, now: float) -> None:
        """Start `exchange`; the connection must be free."""
        exchange.begun = now
        self.exchange = exchange
        self._head = memoryview(exchange.head)
        self._parser = ResponseParser()
        if self._is_connected:
            self._write()

    def handle(self, now: float) -> Exchange | None:
        """Handle an event: read and write as far as possible; return the exchange if it ended."""
        self._is_connected = True
        finished = self._read(now)
        if finished is None and self.exchange and self.is_open and not self._write():
            # The server may have answered before it closed.
            finished = self._read(now) or self._lose(now)
        return finished

    def check(self, now: float, timeout: float) -> Exchange | None:
        """Handle the time: send the body without 100 Continue, or give up."""
        exchange = self.exchange
        if exchange is None:
            return None
        if now - exchange.due > timeout:
            return self._end(ExchangeEnd.TIMEOUT, now)
        if exchange.waits and now - exchange.begun > CONTINUE_SECONDS:
            exchange.waits, exchange.continue_timed_out = False, True
            self._write()
        return None

    def close(self) -> None:
        """Close; an exchange in progress is lost."""
        self.is_open = False
        self._socket.close()

    def _read(self, now: float) -> Exchange | None:
        try:
            while data := self._socket.recv(1 << 16):
                if self.exchange is None:
                    break  # Unsolicited bytes.
                if response := self._parser.feed(data):
                    return self._finish(response, now)
                if self._parser.may_continue:
                    self.exchange.waits = False
        except BlockingIOError:
            return None
        except (OSError, ValueError):
            pass
        return self._lose(now)

    def _write(self) -> bool:
        """Send as much as possible; return False if the connection is broken."""
        exchange = self.exchange
        if exchange is None:
            return True
        try:
            while self._head:
                self._head = self._head[self._socket.send(self._head) :]
            while not exchange.waits and exchange.sent < len(exchange.body):
                exchange.sent += self._socket.send(exchange.body[exchange.sent : exchange.sent + _PIECE])
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _finish(self, response: HttpResponse, now: float) -> Exchange | None:
        """The server would read the next request as the unsent rest of the body, so close the connection."""
        early = self.exchange is not None and self.exchange.is_early
        return self._end(ExchangeEnd.ANSWERED, now, response, keep=not (response.closes or early or self._is_closed()))

    def _is_closed(self) -> bool:
        """Whether the server has closed already: epoll does not report a close that arrived with the response."""
        try:
            self._socket.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def _lose(self, now: float) -> Exchange | None:
        if self.exchange is None:
            self.close()
            return None
        return self._end(ExchangeEnd.LOST, now)

    def _end(
        self, end: ExchangeEnd, now: float, response: HttpResponse | None = None, *, keep: bool = False
    ) -> Exchange | None:
        exchange, self.exchange = self.exchange, None
        if exchange:
            exchange.finish(end, now, response)
        if not keep:
            self.close()
        return exchange
