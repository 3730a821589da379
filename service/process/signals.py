"""Signal handlers: end the service, reload its files, or print all stacks. A single signal never kills it at once."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from common.stacks import write_stacks_on

Handler = Callable[[int, FrameType | None], object]


def guard_start() -> None:
    """Ignore HUP and USR2 while the process starts, and let USR1 write the stacks of all threads."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    write_stacks_on(signal.SIGUSR1)


@contextlib.contextmanager
def handled(*, end: Handler, reload: Callable[[], object]) -> Iterator[None]:
    """Let QUIT call `end` and HUP call `reload` during the block. Only the main thread may set handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        signal.SIGQUIT: signal.signal(signal.SIGQUIT, end),
        signal.SIGHUP: signal.signal(signal.SIGHUP, lambda *_: reload()),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
