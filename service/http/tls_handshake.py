"""TLS handshakes, bounded in number and in time, before the HTTP protocol starts."""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from service.http.connections import Handshakes

HANDSHAKE_SECONDS = 10.0
"""From a new connection to the end of its handshake."""

_SHUTDOWN_SECONDS = 1.0


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
        self._is_lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the handshake; reading is paused until then."""
        transport.pause_reading()
        self._task = asyncio.get_running_loop().create_task(self._secure(transport))

    def data_received(self, data: bytes) -> None:
        """Keep bytes that arrive before the handshake, because uvloop ignores the pause, or right behind it."""
        self._early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Skip the protocol of a lost connection."""
        self._is_lost = True

    async def _secure(self, transport: asyncio.Transport) -> None:
        with self._handshakes.wait(transport):
            shaking = asyncio.create_task(self._shake(transport))
            await self._feed_early(transport)
            secured = await shaking
        # Uvloop raises no error for a connection that is lost during the handshake.
        if secured is not None and not (self._is_lost or transport.is_closing()):
            self._hand_over(secured)

    async def _shake(self, transport: asyncio.Transport) -> asyncio.Transport | None:
        """Return the secured transport; None if the handshake fails or takes too long."""
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

    def make(*given: object, **named: object) -> Handshake:
        return Handshake(make_protocol(*given, **named), context=context, handshakes=handshakes)

    return make
