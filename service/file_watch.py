"""Files that may be replaced while the service runs: looked at twice a second, taken up when they have changed."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from service.periodic import Repeated
from service.process.daemon_threads import start_daemon

SECONDS = 0.5
"""Between two looks."""

Stamp = tuple[int, ...] | None
"""What the file system says of a file, to see that it is another than before."""


class FileWatch(Repeated):
    """Looks at some files for as long as its `async with` block lasts; in a thread, for a disk may be slow to answer.

    Made before the files are first read, so that what is written meanwhile is another change.

    Args:
        paths: the files.
        changed: reads them again; it is called in a thread, and what it raises is logged.
        seconds: between two looks.
    """

    def __init__(self, paths: Sequence[Path], changed: Callable[[], None], *, seconds: float = SECONDS) -> None:
        named = ", ".join(map(str, paths))
        super().__init__(seconds=seconds, fault=f"a change of {named} could not be taken up")
        self._paths = tuple(paths)
        self._changed = changed
        self._seen = self._before = self._stamps()

    def again(self) -> None:
        """Have the files read again soon, whether they have changed or not."""
        self._seen = []
        super().again()

    async def turn(self) -> None:
        """Look, in a thread."""
        await asyncio.wrap_future(start_daemon(self._look_twice, name="look"))

    def _look_twice(self) -> None:
        """Look, unless the files are still being written: they have to be the same as at the turn before."""
        before, self._before = self._before, self._stamps()
        if self._before == before:
            self.look()

    def look(self) -> None:
        """Have the files read again if one of them is another than at the last look."""
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            self._changed()

    def _stamps(self) -> list[Stamp]:
        return [stamp(path) for path in self._paths]


def stamp(path: Path) -> Stamp:
    """Inode, size and times; None for what is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
