"""Guards against use of a gate object after it was closed, in a forked process, or on a second event loop."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from lensgate_client.errors import GateError


class OfOneProcess:
    """Base of gate objects: their connections and threads cannot be copied, nor sent to another process."""

    def __reduce__(self) -> NoReturn:
        """Raise TypeError; pickle's own text would name a lock."""
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled: create one in each process")


class ForkGuard:
    """Remembers the process that created a gate object: connections must not be shared across a fork."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_forked(self) -> bool:
        """Whether this is a forked process, such as a data loader's worker."""
        return os.getpid() != self._pid

    def check(self) -> None:
        """Raise RuntimeError in a forked process."""
        if self.is_forked:
            raise RuntimeError("this gate object was created before the process forked: create one in each process")


class LoopGuard:
    """Remembers the event loop of the first call: connections cannot be used, nor closed, on another one."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_other(self) -> bool:
        """Whether earlier calls ran on another event loop than the running one."""
        return self._loop not in (None, asyncio.get_running_loop())

    def check(self) -> None:
        """Raise RuntimeError on a second event loop."""
        if self.is_other:
            raise RuntimeError(
                "this gate object was used on another event loop: create one for each asyncio.run, within it"
            )
        self._loop = asyncio.get_running_loop()


class AttemptsInFlight:
    """The threads that send a request, which `close` waits for. Thread-safe.

    Args:
        fork_guard: of the gate object.
    """

    def __init__(self, fork_guard: ForkGuard) -> None:
        self.closing = threading.Event()
        self._fork_guard = fork_guard
        self._changed = threading.Condition()
        self._sending: list[int] = []  # A thread is in it twice if a signal handler sends too.
        self._waiting: set[int] = set()

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Count the calling thread during the block; raise GateError after `close`."""
        thread = threading.get_ident()
        with self._changed:
            if self.closing.is_set():
                raise closed_error()
            self._sending.append(thread)
        try:
            yield
        finally:
            with self._changed:
                self._sending.remove(thread)
                self._changed.notify_all()

    def close(self) -> None:
        """Refuse further attempts."""
        self.closing.set()

    def wait(self) -> None:
        """Wait for the attempts of all threads but those that close: a signal handler may close in an attempt.

        Returns at once in a forked process, which has none of the threads.
        """
        if self._fork_guard.is_forked:
            return
        with self._changed:
            self._waiting.add(threading.get_ident())
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting.issuperset(self._sending))


def closed_error() -> GateError:
    """Return the error of a call on a closed gate object."""
    return GateError("this gate object is closed", code="closed")
