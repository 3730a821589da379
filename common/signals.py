"""Signals of a process: handlers that hold within a block, and the interruption of a command."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType

from common.stacks import write_stacks_on

Handler = Callable[[int, FrameType | None], object] | signal.Handlers


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
    """Raise `Interrupted` in the main thread on the first of these signals; a second one exits at once.

    Signals that are ignored stay ignored: shells make background jobs ignore Ctrl-C, and nohup does so with HUP.

    Args:
        signals: the signals.
        grace: seconds from the first signal after which the process exits even if the block hangs.
    """
    with handled(dict.fromkeys(_heard(signals), _Interruption(grace))):
        yield


def _heard(signals: Iterable[signal.Signals]) -> Iterator[signal.Signals]:
    """Yield the signals that are not ignored."""
    return (number for number in signals if signal.getsignal(number) is not signal.SIG_IGN)


def _end(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


class _Interruption:
    """Handles the signals of one block; a timer thread also ends a process that hangs at the interpreter's exit."""

    def __init__(self, grace: float | None) -> None:
        self._grace = grace
        self._has_begun = False

    def __call__(self, number: int, _: FrameType | None) -> None:
        # Both ends flush no output: that would wait for a thread that writes to a full pipe.
        if self._has_begun:
            os._exit(128 + number)
        self._has_begun = True
        if self._grace is not None:
            timer = threading.Timer(self._grace, os._exit, [128 + number])
            timer.daemon = True
            timer.start()
        raise Interrupted(number)


def is_main_thread() -> bool:
    """Return whether this is the main thread, which alone may set handlers."""
    return threading.current_thread() is threading.main_thread()
