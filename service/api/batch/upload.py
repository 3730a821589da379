"""The body of a request from a caller that has to keep sending."""

import asyncio
import contextlib
import time

from starlette.types import Receive

from service.errors import ClientGone, DeadlineExceeded
from service.http.request_body import Pace


class UploadReader:
    """Its parts as they come.

    Args:
        receive: ASGI's.
        pace: of which it has to come; time in which nothing is read does not count.
    """

    def __init__(self, receive: Receive, pace: Pace) -> None:
        self.is_complete = False
        self._pace = pace
        self._receive = receive

    async def part(self, patience: float) -> bytes:
        """The next part, which is waited for `patience` seconds.

        Raises:
            DeadlineExceeded: it did not come.
            ClientGone: the connection closed before the body was complete.
        """
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(patience, self._pace.left)):
                message = await self._receive()
        except TimeoutError as error:
            raise DeadlineExceeded("the upload stalled: too few bytes, or no whole image, came in time") from error
        if message["type"] != "http.request":
            raise ClientGone("the connection closed before the body was complete")
        self.is_complete = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        self._pace.count(time.monotonic() - began, len(body))
        return body

    async def discard(self, seconds: float) -> None:
        """Read what is left, for so many seconds at most."""
        with contextlib.suppress(TimeoutError, ClientGone, DeadlineExceeded):
            async with asyncio.timeout(seconds):
                while not self.is_complete:
                    await self.part(seconds)
