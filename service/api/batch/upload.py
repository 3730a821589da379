"""Read an upload whose caller has to keep a minimum rate."""

import asyncio
import time

from starlette.types import Receive

from service.errors import ClientGone, DeadlineExceeded
from service.http.request_body import Pace


class UploadReader:
    """Reads the parts of an upload as they arrive.

    Args:
        receive: ASGI's.
        pace: the required rate; only time spent waiting for bytes counts.
    """

    def __init__(self, receive: Receive, pace: Pace) -> None:
        self.is_complete = False
        self._pace = pace
        self._receive = receive

    async def part(self, timeout: float) -> bytes:
        """Wait for the next part, `timeout` seconds at most.

        Raises:
            DeadlineExceeded: it did not arrive in time.
            ClientGone: the connection closed before the body was complete.
        """
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(timeout, self._pace.left)):
                message = await self._receive()
        except TimeoutError as error:
            raise DeadlineExceeded(
                "the upload stalled: too few bytes, or no complete image, arrived in time"
            ) from error
        if message["type"] != "http.request":
            raise ClientGone("the connection closed before the body was complete")
        self.is_complete = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        self._pace.count(time.monotonic() - began, len(body))
        return body
