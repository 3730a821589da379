"""A caller that has shut down its side of a connection: it may wait for its answer, or have left."""

import asyncio
import select
from collections.abc import Callable

PROBE_SECONDS = 0.25
"""A request that takes longer is probed for; most are answered before."""

_POLL_SECONDS = 0.05


class HalfClose:
    """Aborts a half-closed connection once its caller turns out to have left.

    Both look the same until something is sent: a caller that has left answers with a reset. An interim `100 Continue`
    means nothing to one that waits (RFC 9110, 15.2).

    Args:
        transport: the connection.
        is_answering: whether there is still an answer to wait for.
        may_probe: whether an interim answer may be sent at this moment.
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
        poll.register(self._transport.get_extra_info("socket").fileno(), 0)  # POLLHUP and POLLERR are always told.
        if poll.poll(0):
            self._transport.abort()
        else:
            self._loop.call_later(_POLL_SECONDS, self._watch)

    def _is_over(self) -> bool:
        return self._transport.is_closing() or not self._is_answering()
