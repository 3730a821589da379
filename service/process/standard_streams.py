"""Standard output and error that never block: each has a bounded queue and a thread, and counts dropped lines.

A pipe whose reader has stopped, a terminal under Ctrl-S or a hanging journal accepts no data. A direct write to it
would block the event loop or the inference thread forever.
"""

import atexit
import contextlib
import fcntl
import io
import os
import select
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from queue import SimpleQueue
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAX_BYTES = 2**20
"""Largest number of queued bytes; further data is dropped."""

PAUSE_SECONDS = 0.005
"""Pause after a write. Lines that come meanwhile are written together: a wake-up for each line of a busy service would
interrupt the event loop as often."""

CLOSE_SECONDS = 1.0
"""Longest time that the end of the process waits for queued data."""


class Sink:
    """Writes to a descriptor from its own thread. `put` returns at once, in any thread and in signal handlers.

    Args:
        descriptor: the output; it is left open.
        recovered: makes a line about the number of dropped writes, once the output accepts data again.
    """

    def __init__(self, descriptor: int, recovered: Callable[[int], bytes]) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._recovered = recovered
        self._told = 0
        self._queue: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        # Each has a single writer: `put`, under the lock, and the thread.
        self._taken_in = self._written = 0
        self._lock = threading.RLock()
        self._is_closed = self._is_stalled = False
        self._thread = threading.Thread(target=self._run, name=f"write-{descriptor}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, data: bytes) -> None:
        """Queue `data`, or drop it if the queue is full."""
        with self._lock:
            if self._is_closed:
                self._write_last(data)
            elif self._taken_in - self._written + len(data) > MAX_BYTES:
                self.dropped += 1
            else:
                self._taken_in += len(data)
                self._queue.put(data)

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Write the queue within `timeout` seconds. Later data is written directly, unless the output is blocked."""
        done = threading.Event()
        self._queue.put(done)
        is_done = done.wait(timeout)
        with self._lock:
            self._is_stalled = not is_done
            self._is_closed = True

    def _write_last(self, data: bytes) -> None:
        if not self._is_stalled:
            with contextlib.suppress(OSError):
                os.write(self._descriptor, data)

    def _run(self) -> None:
        entry: bytes | threading.Event | None = None
        while True:
            if entry is None:
                entry = self._queue.get()
            if isinstance(entry, threading.Event):
                entry.set()
                entry = None
                continue
            lines, entry = self._gather(entry)
            lost = self._write(lines)
            self._written += sum(map(len, lines))
            with self._lock:
                self.dropped += lost
            if not lost and self.dropped > self._told:
                lost, self._told = self.dropped - self._told, self.dropped
                self._write([self._recovered(lost)])
            if entry is None:
                time.sleep(PAUSE_SECONDS)

    def _gather(self, first: bytes) -> tuple[list[bytes], bytes | threading.Event | None]:
        """Take the lines that a pipe accepts as one, and the next item behind them, None if the queue is empty."""
        lines, size = [first], len(first)
        while not self._queue.empty():
            entry = self._queue.get()
            if isinstance(entry, threading.Event) or size + len(entry) > select.PIPE_BUF:
                return lines, entry
            lines.append(entry)
            size += len(entry)
        return lines, None

    def _write(self, lines: Sequence[bytes]) -> int:
        """Write lines; return how many of them the output did not take."""
        data = b"".join(lines)
        rest = memoryview(data)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:
                    poll = select.poll()
                    poll.register(self._descriptor, select.POLLOUT)
                    poll.poll()
        except OSError:  # The reader has closed, or the device is full. A later write may succeed.
            return sum(end > len(data) - len(rest) for end in accumulate(map(len, lines)))
        return 0


class SinkStream(io.RawIOBase):
    """A sink as a raw stream, for `print` and tracebacks."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        """Queue a copy of `data`."""
        copied = bytes(data)
        self._sink.put(copied)
        return len(copied)


def open_sink(descriptor: int, recovered: Callable[[int], bytes]) -> Sink:
    """Make descriptor 1 or 2 non-blocking, also for code outside Python, and open a sink on it."""
    _ensure_open(descriptor)
    with contextlib.suppress(OSError):
        _unblock(descriptor)
        _append(descriptor)
    sink = Sink(descriptor, recovered)
    sink.start()
    _sinks.append(sink)
    atexit.register(sink.close)
    return sink


def text_stream(sink: Sink) -> io.TextIOWrapper:
    """Return a text stream into a sink."""
    buffer = io.BufferedWriter(SinkStream(sink))
    return io.TextIOWrapper(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)


class StreamMetrics(Collector):
    """Counts the dropped lines of standard output and error, from 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Read the sinks."""
        yield CounterMetricFamily(
            "lensgate_log_lines_dropped",
            "Lines that standard error or output did not take",
            value=sum(sink.dropped for sink in _sinks),
        )


_sinks: list[Sink] = []


def _ensure_open(descriptor: int) -> None:
    """Keep a closed descriptor from being reused by a file, such as a database, that C code would then print to."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)


def _unblock(descriptor: int) -> None:
    """Set O_NONBLOCK for this process only: the flag belongs to the open file, which the shell shares."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):  # A socket cannot be reopened. A service manager makes one for each service.
        os.set_blocking(descriptor, False)
    elif (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)) and sys.platform == "linux":
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND
        again = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | flags)
        os.dup2(again, descriptor, inheritable=True)
        os.close(again)


def _append(descriptor: int) -> None:
    """Set O_APPEND for a file: after a rotation that truncates it, the next line would follow a hole of that size."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
