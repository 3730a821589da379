"""One keep-alive connection of the open loop: never blocks, carries one exchange at a time."""

import socket
from dataclasses import dataclass
from enum import StrEnum

from bench.serving.answers import AnswerReader, HttpAnswer

_PIECE = 1 << 18
CONTINUE_SECONDS = 1.0
"""As curl: who asked to be told to go on, and hears nothing for so long, goes on."""


class ExchangeEnd(StrEnum):
    """How an exchange came to its end."""

    ANSWERED = "answered"
    LOST = "lost"
    """The connection ended, or spoke no HTTP, before the answer was whole."""
    TIMEOUT = "timeout"
    UNSENT = "unsent"
    """No connection was free for as long as an answer may take."""


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and what became of it; times in seconds by one clock."""

    due: float
    head: bytes
    body: memoryview
    waits: bool
    """Whether the body is held back until 100 Continue."""
    begun: float = 0.0
    ended: float = 0.0
    end: ExchangeEnd | None = None
    status: int = 0
    retry_after: int | None = None
    impatient: bool = False
    """Whether the body went without leave, which had not come for `CONTINUE_SECONDS`."""
    sent: int = 0
    """Bytes of the body that were handed to the kernel."""

    @property
    def is_early(self) -> bool:
        """Whether the answer came before the whole body was sent."""
        return self.sent < len(self.body)

    def finish(self, end: ExchangeEnd, now: float, answer: HttpAnswer | None = None) -> None:
        """Note the end."""
        self.end, self.ended = end, now
        if answer:
            self.status, self.retry_after = answer.status, answer.retry_after


class Channel:
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
        self._reader = AnswerReader()

    def fileno(self) -> int:
        """For epoll, which watches it edge-triggered: `handle` goes on until the kernel has no more."""
        return self._socket.fileno()

    def begin(self, exchange: Exchange, now: float) -> None:
        """Carry `exchange`; the channel is free."""
        exchange.begun = now
        self.exchange = exchange
        self._head = memoryview(exchange.head)
        self._reader = AnswerReader()
        if self._is_connected:
            self._write()

    def handle(self, now: float) -> Exchange | None:
        """Something happened: read and write what can be; the exchange if that ended it."""
        self._is_connected = True
        finished = self._read(now)
        if finished is None and self.exchange and self.is_open and not self._write():
            # The server may have said why before it closed.
            finished = self._read(now) or self._lose(now)
        return finished

    def check(self, now: float, timeout: float) -> Exchange | None:
        """Time has passed: go on without leave, or give up."""
        exchange = self.exchange
        if exchange is None:
            return None
        if now - exchange.due > timeout:
            return self._end(ExchangeEnd.TIMEOUT, now)
        if exchange.waits and now - exchange.begun > CONTINUE_SECONDS:
            exchange.waits, exchange.impatient = False, True
            self._write()
        return None

    def close(self) -> None:
        """Leave; what is under way is lost."""
        self.is_open = False
        self._socket.close()

    def _read(self, now: float) -> Exchange | None:
        try:
            while data := self._socket.recv(1 << 16):
                if self.exchange is None:
                    break  # Nobody asked anything.
                if answer := self._reader.feed(data):
                    return self._finish(answer, now)
                if self._reader.may_continue:
                    self.exchange.waits = False
        except BlockingIOError:
            return None
        except (OSError, ValueError):
            pass
        return self._lose(now)

    def _write(self) -> bool:
        """Send what can be sent; False where the connection is broken."""
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

    def _finish(self, answer: HttpAnswer, now: float) -> Exchange | None:
        """What was not sent, the server would take for the next request: such a connection is of no more use."""
        early = self.exchange is not None and self.exchange.is_early
        return self._end(ExchangeEnd.ANSWERED, now, answer, keep=not (answer.closes or early or self._is_over()))

    def _is_over(self) -> bool:
        """Whether the server has closed already: of an end that came with the answer nothing more is told."""
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
        self, end: ExchangeEnd, now: float, answer: HttpAnswer | None = None, *, keep: bool = False
    ) -> Exchange | None:
        exchange, self.exchange = self.exchange, None
        if exchange:
            exchange.finish(end, now, answer)
        if not keep:
            self.close()
        return exchange
