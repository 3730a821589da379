"""Signals to a command that is not a service: TERM and HUP end it as Ctrl-C does, so that what is finished is kept."""

import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Terminated(KeyboardInterrupt):
    """A signal told the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


@contextlib.contextmanager
def ended_cleanly() -> Iterator[None]:
    """For the block, raise Terminated in the main thread on TERM and HUP.

    USR1 writes the stacks of all threads, and USR2 does nothing. Under nohup HUP does nothing either.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[signal.Signals, Any] = {signal.SIGTERM: _stop, signal.SIGHUP: _stop, signal.SIGUSR2: signal.SIG_IGN}
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, handler)
    with contextlib.suppress(OSError, ValueError):
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def close_output() -> int:
    """Write nothing more to a reader that is gone; returns the exit status of what ends by it."""
    null = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        os.dup2(null, sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def _stop(number: int, _: FrameType | None) -> None:
    # A second one ends it at once.
    signal.signal(number, signal.SIG_DFL)
    raise Terminated(number)
