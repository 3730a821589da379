"""Files that are generated while they are sent: one part of one file at a time."""

from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi.responses import StreamingResponse

_Part = TypeVar("_Part", str, bytes)


class Downloads:
    """Generates the parts of all files in a thread, one after the other.

    Threads that generate together would take turns with the event loop's thread, and delay every other request.
    """

    def __init__(self) -> None:
        self._turn = CapacityLimiter(1)

    async def respond(self, parts: Iterator[_Part], name: str, *, media_type: str) -> StreamingResponse:
        """Return a file download. Its first part is produced early, so that an error can still be answered."""
        first = await self._next(parts)
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(self._all(first, parts), media_type=media_type, headers=headers)

    async def _all(self, part: _Part | None, parts: Iterator[_Part]) -> AsyncIterator[_Part]:
        while part is not None:
            yield part
            part = await self._next(parts)

    async def _next(self, parts: Iterator[_Part]) -> _Part | None:
        """Return the next part, None after the last one."""
        return await to_thread.run_sync(next, parts, None, limiter=self._turn)
