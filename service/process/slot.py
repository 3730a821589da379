"""One worker as its parent sees it: the process, the link to it, and when to start it again."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence

from service.process.frames import Channel, Frame, Kind
from service.process.signals import IGNORED, held_back

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
"""Seconds before a worker that ended soon after its start is started again; each such end doubles them."""

STEADY_SECONDS = 60.0
"""A worker that ran this long is started again at once."""

SILENT_SECONDS = 60.0
"""A worker that listens and sends no frame for this long is killed: its event loop hangs."""

Command = Callable[[int, int], list[str]]
"""Makes the command line of a worker from its number and the descriptor of its link."""


class Slot:
    """A numbered place for one process at a time.

    Args:
        number: from 1 on.
        command: makes the command line.
        start_seconds: a worker that does not listen after this time is killed.
        shared: descriptors that the process inherits.
        clock: monotonic clock in seconds.
    """

    def __init__(
        self,
        number: int,
        command: Command,
        *,
        start_seconds: float,
        shared: Sequence[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.number = number
        self.channel: Channel | None = None
        self.is_ready = False
        self.reading = b""
        self._command = command
        self._start_seconds = start_seconds
        self._shared = tuple(shared)
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = self._heard = 0.0
        self._delay = 0.0
        self.due = 0.0
        """When to start the next process, on the clock."""

    @property
    def is_alive(self) -> bool:
        """Whether a process runs, as far as the parent has noticed."""
        return self._process is not None

    def start(self) -> Channel:
        """Start a process and return the link to it.

        It has a process group of its own: Ctrl-C in a terminal reaches the parent alone.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            command = self._command(self.number, theirs.fileno())
            self.channel = Channel(ours)
            with held_back(IGNORED):
                self._process = subprocess.Popen(  # noqa: S603 - the command is our own.
                    command, pass_fds=(theirs.fileno(), *self._shared), process_group=0
                )
        self._begun = self._heard = self._clock()
        # Always the first frame: the worker waits for it.
        self.channel.send(Frame(Kind.EARLIER, self.reading))
        return self.channel

    def heard(self) -> None:
        """Note that the worker sent a frame. Before it listens none counts: its event loop may run while it hangs."""
        if self.is_ready:
            self.excuse()

    def excuse(self) -> None:
        """Excuse the silence so far."""
        self._heard = self._clock()

    def kill_if_silent(self) -> bool:
        """Kill a worker that hangs, in its event loop or before it listens; return whether it was.

        One in an uninterruptible wait, as for a disk, ends later; it is killed again after the same time.
        """
        longest = SILENT_SECONDS if self.is_ready else self._start_seconds
        is_silent = self.is_alive and self._clock() - self._heard > longest
        if is_silent:
            self.signal(signal.SIGKILL)
            self.excuse()
        return is_silent

    def signal(self, number: int) -> None:
        """Send a signal, if a process runs."""
        if self._process is not None:
            self._process.send_signal(number)

    @property
    def status(self) -> int | None:
        """The exit status of a process that has ended and was not closed; negative for a signal."""
        return self._process.poll() if self._process else None

    def close(self) -> None:
        """Close the link of a process that has ended, and plan the next one."""
        if self.channel is not None:
            self.channel.link.close()
        self._process = self.channel = None
        self.is_ready = False
        if self._clock() - self._begun >= STEADY_SECONDS:
            self._delay = 0.0
        self.due = self._clock() + self._delay
        self._delay = min(LONGEST_DELAY, 2 * self._delay or FIRST_DELAY)


def describe_status(status: int) -> str:
    """Return how a process ended."""
    if status >= 0:
        return f"status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:  # Most real-time signals have no name.
        return f"signal {-status}"
