"""TLS handshakes: bounded in number and in time, before a connection is one of HTTP."""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from service.http.connections import Handshakes

HANDSHAKE_SECONDS = 10.0
"""From a new connection to the end of its handshake."""

_SHUTDOWN_SECONDS = 1.0


class Handshake(asyncio.Protocol):
    """Makes a plain connection a secure one, and hands it to the protocol that answers requests.

    Args:
        protocol: answers what comes then.
        context: of the server.
        handshakes: all of this port.
    """

    def __init__(self, protocol: asyncio.Protocol, *, context: ssl.SSLContext, handshakes: Handshakes) -> None:
        self._protocol = protocol
        self._context = context
        self._handshakes = handshakes
        self._task: asyncio.Task[None] | None = None
        self._early: list[bytes] = []
        self._is_lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the handshake; nothing is read before it takes over."""
        transport.pause_reading()
        self._task = asyncio.get_running_loop().create_task(self._secure(transport))

    def data_received(self, data: bytes) -> None:
        """Keep what comes before the handshake begins, as uvloop does not heed the pause, or right behind its end."""
        self._early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Hand nothing over."""
        self._is_lost = True

    async def _secure(self, transport: asyncio.Transport) -> None:
        with self._handshakes.wait(transport):
            shaking = asyncio.create_task(self._shake(transport))
            await self._feed_early(transport)
            secured = await shaking
        # A connection that is lost in the middle is no error to uvloop.
        if secured is not None and not (self._is_lost or transport.is_closing()):
            self._hand_over(secured)

    async def _shake(self, transport: asyncio.Transport) -> asyncio.Transport | None:
        """Return the secure transport; None for no TLS, no version in common, too late, or gone."""
        try:
            return await asyncio.get_running_loop().start_tls(
                transport,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
        except OSError:
            transport.abort()
            return None

    async def _feed_early(self, transport: asyncio.Transport) -> None:
        """Give the handshake what came before it: once it has taken over and before more is read."""
        await asyncio.sleep(0)  # It takes over now.
        await asyncio.sleep(0)  # It learns of its transport.
        raw, self._early = b"".join(self._early), []
        protocol = transport.get_protocol()
        if raw and protocol is not self and not transport.is_closing():
            # A `BufferedProtocol` by what it does; uvloop's does not say so.
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
    """Return what makes such a protocol for each new connection, from the same arguments."""

    def make(*given: object, **named: object) -> Handshake:
        return Handshake(make_protocol(*given, **named), context=context, handshakes=handshakes)

    return make
