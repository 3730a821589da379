"""Signals of commands other than `serve`: TERM and HUP stop a command as Ctrl-C does, which keeps finished work."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Terminated(KeyboardInterrupt):
    """A signal stopped the command."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


@contextlib.contextmanager
def ended_cleanly() -> Iterator[None]:
    """Raise Terminated in the main thread on TERM and HUP within the block.

    USR2 is ignored, and so is HUP under nohup.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[signal.Signals, Any] = {signal.SIGTERM: _stop, signal.SIGHUP: _stop, signal.SIGUSR2: signal.SIG_IGN}
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _: FrameType | None) -> None:
    # A second signal ends the process at once.
    signal.signal(number, signal.SIG_DFL)
    raise Terminated(number)
