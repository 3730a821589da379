"""Half-closed connections: the caller may be waiting for its answer, or may have left."""

import asyncio
import select
from collections.abc import Callable

PROBE_SECONDS = 0.25
"""Delay of the probe; most requests are answered earlier."""

_POLL_SECONDS = 0.05


class HalfClose:
    """Aborts a half-closed connection whose caller has left.

    The two cases differ only when bytes are sent: a caller that has left answers with a reset. A waiting caller ignores
    an interim `100 Continue` (RFC 9110, 15.2).

    Args:
        transport: the connection.
        is_answering: whether an answer is pending.
        may_probe: whether an interim answer may be sent now.
    """

    def __init__(
        self, transport: asyncio.Transport, *, is_answering: Callable[[], bool], may_probe: Callable[[], bool]
    ) -> None:
        self._transport = transport
        self._is_answering = is_answering
        self._may_probe = may_probe
        self._loop = asyncio.get_running_loop()
        self._loop.call_later(PROBE_SECONDS, self._probe)

    def _probe(self) -> None:
        if self._is_over():
            return
        if self._may_probe():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._watch()

    def _watch(self) -> None:
        if self._is_over():
            return
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), 0)  # POLLHUP and POLLERR are always reported.
        if poll.poll(0):
            self._transport.abort()
        else:
            self._loop.call_later(_POLL_SECONDS, self._watch)

    def _is_over(self) -> bool:
        return self._transport.is_closing() or not self._is_answering()
