"""Watch files that may be replaced while the service runs: check twice a second, reload after a change."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from service.concurrency.daemon_threads import start_daemon
from service.concurrency.periodic import Repeated

SECONDS = 0.5
"""Time between two checks."""

Stamp = tuple[int, ...] | None
"""Inode, size and times of a file, which differ after a change; None for a missing file."""


class FileWatch(Repeated):
    """Checks some files while its `async with` block lasts, in a thread, as a disk may be slow.

    Create it before the files are first read, so that a write in between counts as a change.

    Args:
        paths: the files.
        changed: reads the files again; called in a thread, and its exceptions are logged.
        seconds: time between two checks.
    """

    def __init__(self, paths: Sequence[Path], changed: Callable[[], None], *, seconds: float = SECONDS) -> None:
        named = ", ".join(map(str, paths))
        super().__init__(seconds=seconds, fault=f"{named} changed and could not be reloaded")
        self._paths = tuple(paths)
        self._changed = changed
        self._seen = self._before = self._stamps()

    def again(self) -> None:
        """Read the files again soon, even if they have not changed."""
        self._seen = []
        super().again()

    async def turn(self) -> None:
        """Check once, in a thread."""
        await asyncio.wrap_future(start_daemon(self._look_twice, name="look"))

    def _look_twice(self) -> None:
        """Check, unless the files are still being written: their stamps must equal those of the previous turn."""
        before, self._before = self._before, self._stamps()
        if self._before == before:
            self.look()

    def look(self) -> None:
        """Read the files again if one of them has changed since the last check."""
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            self._changed()

    def _stamps(self) -> list[Stamp]:
        return [stamp(path) for path in self._paths]


def stamp(path: Path) -> Stamp:
    """Return the stamp of a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
