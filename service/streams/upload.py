"""The body of a request from a caller that has to keep sending."""

import asyncio
import contextlib

from starlette.types import Receive

from service.errors import ClientGone, DeadlineExceeded


class Upload:
    """Its parts as they come."""

    def __init__(self, receive: Receive) -> None:
        self.is_complete = False
        self._receive = receive

    async def part(self, patience: float) -> bytes:
        """The next part, which is waited for `patience` seconds.

        Raises:
            DeadlineExceeded: it did not come.
            ClientGone: the connection closed before the body was complete.
        """
        try:
            async with asyncio.timeout(patience):
                message = await self._receive()
        except TimeoutError as error:
            raise DeadlineExceeded("the upload stalled: no byte, or no whole image, came in time") from error
        if message["type"] != "http.request":
            raise ClientGone("the connection closed before the body was complete")
        self.is_complete = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body

    async def discard(self, seconds: float) -> None:
        """Read what is left, for so many seconds at most."""
        with contextlib.suppress(TimeoutError, ClientGone):
            async with asyncio.timeout(seconds):
                while not self.is_complete:
                    await self.part(seconds)
