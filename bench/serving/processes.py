"""Start servers as processes, wait for them, sample their memory, and end them with all children."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 60.0
ATTEMPTS = 3
STOP_SECONDS = 15.0
ORPHAN_SECONDS = 3.0
_LOG = "output.log"


class StartError(RuntimeError):
    """A server did not become ready; the text ends with its last output."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens on 127.0.0.1:`port`."""

    pid: int
    port: int

    def peak_memory(self) -> float:
        """Peak resident memory of the process, in MB of a million bytes."""
        return memory(self.pid, "VmHWM")


@contextmanager
def running(
    command: Callable[[int], Sequence[str]],
    is_ready: Callable[[int], bool],
    *,
    environment: Mapping[str, str],
    folder: Path,
) -> Iterator[Running]:
    """Start `command` for a free port, with output in `folder`; end it with the block.

    The environment holds the port too, as `PORT`. Some servers fail at random on busy cores, so each start is retried.

    Raises:
        StartError: `ATTEMPTS` times it ended, or was not ready within `START_SECONDS`.
    """
    for attempt in range(1, ATTEMPTS + 1):
        port = free_port()
        process = _start(command(port), {**environment, "PORT": str(port)}, folder)
        try:
            _wait(process, partial(is_ready, port), folder / _LOG)
        except StartError:
            if attempt == ATTEMPTS:
                raise
        else:
            yield Running(process.pid, port)
            return
        finally:
            _end(process)


def _start(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> "subprocess.Popen[bytes]":
    with (folder / _LOG).open("wb") as sink:
        return subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MemoryWatch:
    """Sample the resident memory of a process during the block; `peak` is the maximum, in MB.

    Args:
        pid: the process.
        period: seconds between two samples.
        on_sample: called with each sample, in MB.
    """

    def __init__(self, pid: int, *, period: float = 0.2, on_sample: Callable[[float], None] = lambda _: None) -> None:
        self.peak = 0.0
        self._on_sample = on_sample
        self._pid = pid
        self._period = period
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._period):
            resident = memory(self._pid, "VmRSS")
            self.peak = max(self.peak, resident)
            self._on_sample(resident)


def memory(pid: int, name: str) -> float:
    """A figure of /proc/<pid>/status in MB, `VmRSS` or `VmHWM`; 0 if missing."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _wait(process: "subprocess.Popen[bytes]", is_true: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_true():
        if process.poll() is not None or time.monotonic() > deadline:
            state = "is not ready" if process.poll() is None else f"ended with status {process.returncode}"
            raise StartError(f"{state}: {_last_line(log)}")
        time.sleep(0.1)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() or ["it printed no output"]
    return lines[-1].strip()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Send SIGTERM to the process, then to its remaining children; kill any that survive."""
    family = [(pid, _started(pid)) for pid in (process.pid, *_descendants(process.pid))]
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for number, seconds in ((signal.SIGTERM, ORPHAN_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        for pid in _alive(family):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while _alive(family) and time.monotonic() < deadline:
            time.sleep(0.02)


def _alive(family: Sequence[tuple[int, str | None]]) -> list[int]:
    return [pid for pid, started in family if started is not None and _started(pid) == started]


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        if fields := _stat(path):
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    family = [pid]
    for parent in family:  # Grows as it goes.
        family += children.get(parent, [])
    return family[1:]


def _started(pid: int) -> str | None:
    """Return the start time in ticks, which with the process id is unique; None if the process has ended."""
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return fields[19] if fields and fields[0] != "Z" else None


def _stat(path: Path) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat from the state on; the name before them may contain spaces."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
