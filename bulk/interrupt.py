"""Ctrl-C and SIGTERM: the run stops in order, and within seconds even where a read or a decode hangs."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

GRACE_SECONDS, RAY_GRACE_SECONDS = 5.0, 30.0
"""How long what is under way may take to stop; then the process ends as if killed, which costs no finished shard.

Ray takes longer to end its own processes.
"""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The run was told to stop, by the signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


@contextlib.contextmanager
def interruptible(grace: float = GRACE_SECONDS) -> Iterator[None]:
    """Raise `Interrupted` in the main thread on the first signal, and end the process `grace` seconds later at most.

    A second signal ends it at once. Elsewhere than in the main thread, signals are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _Handler(grace)) for number in _SIGNALS if _is_heard(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Handler:
    """Handles one signal; a timer thread ends the process where the orderly way hangs, also at interpreter exit."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._is_stopping = False

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self._is_stopping:
            _end(128 + number)
        self._is_stopping = True
        timer = threading.Timer(self._grace, _end, [128 + number])
        timer.daemon = True
        timer.start()
        raise Interrupted(number)


def _is_heard(number: int) -> bool:
    """A shell has what it runs in the background ignore Ctrl-C."""
    return signal.getsignal(number) is not signal.SIG_IGN


def _end(status: int) -> None:
    with contextlib.suppress(Exception):
        sys.stderr.flush()
    os._exit(status)
