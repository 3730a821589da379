"""Progress on standard error: one line, rewritten in place on a terminal and repeated every few seconds elsewhere."""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TextIO

from bulk.output.tally import Counts
from bulk.work_unit import WorkUnit

_TERMINAL_SECONDS = 0.5
_LOG_SECONDS = 10.0

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Total:
    """The size of SRC: units, and images if their number is known before they are read."""

    units: int
    images: int


class Progress:
    """Counts the images of this run and shows the counts. Thread-safe.

    Args:
        stream: receives the lines.
        clock: returns seconds.
    """

    def __init__(self, stream: TextIO, *, clock: Clock = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._is_terminal = stream.isatty()
        self._every = _TERMINAL_SECONDS if self._is_terminal else _LOG_SECONDS
        self._lock = threading.Lock()
        self._counts = Counts()
        self._units = self._skipped_units = self._skipped_images = 0
        self._total: Total | None = None
        self._start = self._shown = clock()
        self._has_line = False

    @property
    def seconds(self) -> float:
        """Seconds since this object was made."""
        return self._clock() - self._start

    def judged(self, counts: Counts) -> None:
        """Add images that were judged."""
        with self._lock:
            self._counts += counts
            self._show_sometimes()

    def finished(self) -> None:
        """Add one finished unit."""
        with self._lock:
            self._units += 1
            self._show_sometimes()

    def skipped(self, images: int) -> None:
        """Add one unit that an earlier run finished, with its images."""
        with self._lock:
            self._skipped_units += 1
            self._skipped_images += images
            self._show_sometimes()

    def knows(self, total: Total) -> None:
        """Set the total once all of SRC has been listed."""
        with self._lock:
            self._total = total

    def close(self) -> None:
        """Show the final state if a line was ever shown."""
        with self._lock:
            if self._has_line:
                self._show()
                if self._is_terminal:
                    self._write("\n")

    def _show_sometimes(self) -> None:
        if self._clock() - self._shown >= self._every:
            self._show()

    def _show(self) -> None:
        self._shown, self._has_line = self._clock(), True
        line, width = self._line(), shutil.get_terminal_size().columns - 1
        # Pad to overwrite a longer line; truncate, since a wrapped line could not be overwritten.
        self._write(f"\r{line[:width]:{width}}" if self._is_terminal else f"{line}\n")

    def _write(self, text: str) -> None:
        # A full disk below a log, or its reader that has gone, must not end a run of hours.
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()

    def _line(self) -> str:
        counts = self._counts
        done = self._units + self._skipped_units
        left = self._left()
        # Least important last: a narrow terminal truncates the line.
        fields = [
            f"{counts.images:,} images",
            f"{counts.images / max(self.seconds, 1e-9):,.1f}/s",
            *([] if left is None else [f"{timedelta(seconds=round(left))} left"]),
            f"accepted {counts.accepted:,}",
            f"discarded {counts.discarded:,}",
            f"errors {counts.errors:,}",
            f"shard {done:,} of {self._total.units:,}" if self._total else f"shard {done:,}",
        ]
        return "  ".join(fields)

    def _left(self) -> float | None:
        """Estimate the seconds left from the rate so far: by images if their number is known, otherwise by units."""
        if self._total is None:
            return None
        if self._total.images:
            done, left = self._counts.images, self._total.images - self._skipped_images - self._counts.images
        else:
            done, left = self._units, self._total.units - self._skipped_units - self._units
        return self.seconds * max(left, 0) / done if done else None


class Survey:
    """Counts units on its own thread, ahead of the run, which lists them lazily."""

    def __init__(self, units: Iterable[WorkUnit], progress: Progress) -> None:
        self._units, self._progress = units, progress
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._count, name="survey", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        # A listing may take long, and an interrupted run must end soon.
        self._thread.join(timeout=1.0)

    def _count(self) -> None:
        units = images = 0
        try:
            for unit in self._units:
                units, images = units + 1, images + unit.images
                if self._stopped.is_set():
                    return
        except Exception:  # The run meets and reports the same error, unless it has ended.
            return
        self._progress.knows(Total(units, images))
