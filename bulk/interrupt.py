"""Stop a run cleanly on Ctrl-C, SIGTERM and SIGHUP, within seconds even if a read or a decode hangs."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

GRACE_SECONDS, RAY_GRACE_SECONDS = 5.0, 30.0
"""Seconds for a clean stop; then the process exits as if killed, which loses no finished shard.

Ray takes longer to end its own processes.
"""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """The signal `number` stopped the run."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


@contextlib.contextmanager
def interruptible(grace: float = GRACE_SECONDS) -> Iterator[None]:
    """Raise `Interrupted` in the main thread on the first signal, and exit at most `grace` seconds later.

    A second signal exits at once. In any other thread the context manager leaves signals alone.
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
    """Handles one signal; a timer thread exits the process if the clean stop hangs, also at interpreter exit."""

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
    """Return False for a signal that is ignored: shells make background jobs ignore Ctrl-C."""
    return signal.getsignal(number) is not signal.SIG_IGN


def _end(status: int) -> None:
    with contextlib.suppress(Exception):
        sys.stderr.flush()
    os._exit(status)
