"""Progress of long steps on standard error: a bar on a terminal, and elsewhere a line every few seconds."""

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

LOG_SECONDS = 10.0


class _Lines:
    """Turns the states of a bar into lines: programs that collect logs wait for the end of one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._last = stream, ""

    def write(self, text: str) -> None:
        line = text.strip()
        # A bar shows its last state once more when it is closed.
        if line and line != self._last:
            self._stream.write(f"{line}\n")
            self._last = line

    def flush(self) -> None:
        self._stream.flush()


def progress_bar(items: Iterable[Any] | None = None, *, total: int, title: str, unit: str, hidden: bool = False) -> Any:
    """Return a bar of tqdm over `items`, or one to `update` by hand."""
    options: dict[str, Any] = {"total": total, "desc": title, "unit": unit, "disable": hidden}
    if not sys.stderr.isatty():
        state = "{desc}: {n_fmt} of {total_fmt} {unit}s in {elapsed}{postfix}"
        options |= {"file": _Lines(sys.stderr), "mininterval": LOG_SECONDS, "miniters": 1, "bar_format": state}
    return tqdm(items, **options)
