"""Signals while the service starts: HUP and USR2 are ignored, and TERM and QUIT end even process 1 of a container."""

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator

from common import signals

ENDING = (signal.SIGTERM, signal.SIGQUIT)
IGNORED = (signal.SIGHUP, signal.SIGUSR2)
"""Signals by what they do while a process starts."""


def guard_start() -> None:
    """Ignore HUP and USR2 while the process starts, and let USR1 write the stacks of all threads.

    TERM and QUIT end it, also as process 1 of a container: the kernel drops its signals that have no handler, so that a
    container that was stopped meanwhile would go on to serve until it is killed.
    """
    if not signals.is_main_thread():
        return
    if os.getpid() == 1:
        for number in ENDING:
            signal.signal(number, lambda received, _: os._exit(128 + received))
    signals.guard_start(*IGNORED)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*ENDING, *IGNORED})


@contextlib.contextmanager
def held_back(numbers: Iterable[int]) -> Iterator[None]:
    """Hold signals back for a program that is started in the block, until its `guard_start`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
