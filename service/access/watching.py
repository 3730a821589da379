"""Files that may be replaced while the service runs: looked at every second, taken up when they have changed."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)

SECONDS = 1.0
"""Between two looks."""

_Stamp = tuple[int, ...] | None


class FileWatch:
    """Looks at some files for as long as its `async with` block lasts; in a thread, for a disk may be slow to answer.

    Made before the files are first read, so that what is written meanwhile is another change.

    Args:
        paths: the files.
        changed: reads them again; it is called in a thread, and what it raises is logged.
        seconds: between two looks.
    """

    def __init__(self, paths: Sequence[Path], changed: Callable[[], None], *, seconds: float = SECONDS) -> None:
        self._paths = tuple(paths)
        self._changed = changed
        self._seconds = seconds
        self._seen = self._stamps()
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Have the files read again if one of them is another than at the last look."""
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            self._changed()

    def _stamps(self) -> list[_Stamp]:
        return [_stamp(path) for path in self._paths]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await asyncio.to_thread(self.look)
            except Exception:  # Whatever is wrong with this change, the next one may be a token that is revoked.
                log.exception("a change of %s could not be taken up", ", ".join(map(str, self._paths)))

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
