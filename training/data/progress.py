"""Progress of long steps on standard error: a bar on a terminal, and elsewhere a line every few seconds."""

import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO

from tqdm import tqdm

LOG_SECONDS = 10.0


class _Stream:
    """A stream that may be on a full disk, or whose reader may have gone: a run goes on without its progress."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        # tqdm asks for the file number, to find out the width of the terminal.
        return getattr(self._stream, name)


class _Lines(_Stream):
    """Turns the states of a bar into lines: programs that collect logs wait for the end of one."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._last = ""

    def write(self, text: str) -> None:
        line = text.strip()
        # A bar shows its last state once more when it is closed.
        if line and line != self._last:
            super().write(f"{line}\n")
            self._last = line


def progress_bar(items: Iterable[Any] | None = None, *, total: int, title: str, unit: str, hidden: bool = False) -> Any:
    """Return a bar of tqdm over `items`, or one to `update` by hand."""
    options: dict[str, Any] = {"total": total, "desc": title, "unit": unit, "disable": hidden}
    options["file"] = _Stream(sys.stderr) if sys.stderr.isatty() else _Lines(sys.stderr)
    if not sys.stderr.isatty():
        state = "{desc}: {n_fmt} of {total_fmt} {unit}s in {elapsed}{postfix}"
        options |= {"mininterval": LOG_SECONDS, "miniters": 1, "bar_format": state}
    return tqdm(items, **options)
