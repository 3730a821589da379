"""Signals of a process: handlers that hold within a block, and the interruption of a command."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType

from common.stacks import write_stacks_on

Handler = Callable[[int, FrameType | None], object] | signal.Handlers

_REPEATED = 0.5
"""Seconds in which further signals belong to the first one."""


class Ending:
    """Handles the signals that end a process: the first one drains it, a later one ends it at once.

    GNU timeout, make and nodemon signal a process and then its group, so that it gets one order twice.

    Args:
        first: handles the first signal, by its number.
        second: handles those that come half a second later or more.
    """

    def __init__(self, first: Callable[[int], object], second: Callable[[int], object]) -> None:
        self._first = first
        self._second = second
        self._since: float | None = None

    def __call__(self, number: int, _: FrameType | None = None) -> None:
        """Handle a signal."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self._first(number)
        elif now - self._since >= _REPEATED:
            self._second(number)


class Interrupted(KeyboardInterrupt):
    """A signal stopped the command; `status` is its exit status, 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


def guard_start(*ignored: signal.Signals) -> None:
    """Ignore these signals while the process starts, and let USR1 write the stacks of all threads.

    Only the main thread may set handlers: in any other thread this has no effect.
    """
    if is_main_thread():
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        write_stacks_on(signal.SIGUSR1)


@contextlib.contextmanager
def handled(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Set handlers within the block and restore the previous ones; in other threads than the main one, do neither."""
    if not is_main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ended_at_once() -> Iterator[None]:
    """Let INT, TERM and HUP end the process within a block that can be abandoned, such as imports.

    Compiled modules swallow the exception of a handler while they are imported, and stay incomplete. The default action
    would not do either: for process 1 of a container the kernel drops signals without a handler.
    """
    with handled(dict.fromkeys(_heard((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)), _end)):
        yield


@contextlib.contextmanager
def interruptible(signals: Iterable[signal.Signals], *, grace: float | None = None) -> Iterator[None]:
    """Raise `Interrupted` in the main thread on the first of these signals; a second one ends the process (`Ending`).

    Signals that are ignored stay ignored: shells make background jobs ignore Ctrl-C, and nohup does so with HUP.

    Args:
        signals: the signals.
        grace: seconds from the first signal after which the process exits even if the block hangs.
    """
    ending = Ending(lambda number: _interrupt(number, grace), _end)
    with handled(dict.fromkeys(_heard(signals), ending)):
        yield


def _heard(signals: Iterable[signal.Signals]) -> Iterator[signal.Signals]:
    """Yield the signals that are not ignored."""
    return (number for number in signals if signal.getsignal(number) is not signal.SIG_IGN)


def _end(number: int, _: FrameType | None = None) -> None:
    """Exit without flushing output, which would wait for a thread that writes to a full pipe."""
    os._exit(128 + number)


def _interrupt(number: int, grace: float | None) -> None:
    if grace is not None:
        # A thread also ends a process that hangs at the interpreter's exit.
        timer = threading.Timer(grace, _end, [number])
        timer.daemon = True
        timer.start()
    raise Interrupted(number)


def is_main_thread() -> bool:
    """Return whether this is the main thread, which alone may set handlers."""
    return threading.current_thread() is threading.main_thread()
