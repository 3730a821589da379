"""TLS handshakes, bounded in number and in time, before the HTTP protocol starts."""

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from service.errors import MalformedRequest
from service.http.connections import Handshakes
from service.http.framing import PROXY_HEADER, is_proxy_header
from service.http.raw_responses import make_refusal

HANDSHAKE_SECONDS = 10.0
"""From a new connection to the end of its handshake."""

_WITHOUT_TLS = "this port takes TLS only: use https://, not http://"
_SHUTDOWN_SECONDS = 1.0
_CLOSE_SECONDS = 1.0
_MIN_SECONDS = 0.001


class Handshake(asyncio.Protocol):
    """Secures a plain connection and passes it to the protocol that answers requests.

    Args:
        protocol: serves HTTP afterwards.
        context: the server's.
        handshakes: counts those of this port.
    """

    def __init__(self, protocol: asyncio.Protocol, *, context: ssl.SSLContext, handshakes: Handshakes) -> None:
        self._protocol = protocol
        self._context = context
        self._handshakes = handshakes
        self._task: asyncio.Task[None] | None = None
        self._early: list[bytes] = []
        self._has_begun = asyncio.Event()
        self._is_lost = asyncio.Event()
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first bytes, then begin the handshake."""
        self._task = asyncio.get_running_loop().create_task(self._secure(transport))

    def data_received(self, data: bytes) -> None:
        """Keep bytes that arrive before the handshake, or right behind it."""
        if not self._is_refused:
            self._early.append(data)
        self._has_begun.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Skip the protocol of a lost connection."""
        self._is_lost.set()
        self._has_begun.set()

    async def _secure(self, transport: asyncio.Transport) -> None:
        deadline = time.monotonic() + HANDSHAKE_SECONDS
        with self._handshakes.wait(transport):
            if not await self._begins_tls(transport):
                return
            handshake = asyncio.create_task(self._handshake(transport, deadline - time.monotonic()))
            await self._feed_early(transport)
            secured = await handshake
        # Uvloop raises no error for a connection that is lost during the handshake.
        if secured is not None and not (self._is_lost.is_set() or transport.is_closing()):
            self._hand_over(secured)

    async def _begins_tls(self, transport: asyncio.Transport) -> bool:
        """Wait for the first bytes; close the connection without any, and answer a request without TLS."""
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await self._has_begun.wait()
        except TimeoutError:
            transport.abort()
        if self._is_lost.is_set() or transport.is_closing():
            return False
        # A record of TLS begins with a control character, a request with a letter.
        if self._early[0][:1].isalpha() or is_proxy_header(self._early[0]):
            await self._refuse(transport)
            return False
        transport.pause_reading()
        return True

    async def _refuse(self, transport: asyncio.Transport) -> None:
        """Answer, and discard the rest of the request: closing on unread bytes would lose the answer."""
        self._is_refused = True
        has_header = is_proxy_header(self._early[0])
        self._early.clear()
        reason = f"the connection is not TLS: {PROXY_HEADER}" if has_header else _WITHOUT_TLS
        transport.write(make_refusal(MalformedRequest(reason), self._handshakes.on_refusal))
        transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._is_lost.wait()
        transport.abort()

    async def _handshake(self, transport: asyncio.Transport, seconds: float) -> asyncio.Transport | None:
        """Return the secured transport; None if the handshake fails or takes too long."""
        try:
            return await asyncio.get_running_loop().start_tls(
                transport,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=max(seconds, _MIN_SECONDS),
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
        except OSError:
            transport.abort()
            return None

    async def _feed_early(self, transport: asyncio.Transport) -> None:
        """Pass early bytes to the handshake, after it has started and before it reads more."""
        await asyncio.sleep(0)  # The handshake starts.
        await asyncio.sleep(0)  # It receives its transport.
        raw, self._early = b"".join(self._early), []
        protocol = transport.get_protocol()
        if raw and protocol is not self and not transport.is_closing():
            # Uvloop's protocol is a `BufferedProtocol` without that base class.
            buffered = cast("asyncio.BufferedProtocol", protocol)
            memoryview(buffered.get_buffer(len(raw)))[: len(raw)] = raw
            buffered.buffer_updated(len(raw))

    def _hand_over(self, transport: asyncio.Transport) -> None:
        transport.set_protocol(self._protocol)
        self._protocol.connection_made(transport)
        for data in self._early:
            self._protocol.data_received(data)


def secure(
    make_protocol: Callable[..., asyncio.Protocol], *, context: ssl.SSLContext, handshakes: Handshakes
) -> Callable[..., Handshake]:
    """Return a factory with the same arguments, whose protocols perform a handshake first."""

    def make(*arguments: object, **options: object) -> Handshake:
        return Handshake(make_protocol(*arguments, **options), context=context, handshakes=handshakes)

    return make
