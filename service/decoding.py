"""The pool that turns bodies into pixels, one image a job; the decoders release the GIL."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.errors import DeadlineExceeded
from service.estimate import RunningMean

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Decoded(Generic[_Made]):
    """What a job made, and by the clock when it was handed in, begun and ended."""

    made: _Made
    submitted: float
    started: float
    ended: float

    @property
    def waited(self) -> float:
        """Seconds before a thread was free."""
        return self.started - self.submitted


class DecodePool:
    """Decodes on `threads` threads, straight down to the model's size, so that only kilobytes wait in the queue.

    Args:
        threads: how many jobs run at a time; 0 is one per core this process may use.
        observe: is told the seconds of each job.
        on_idle: is called when a job ended and no other is left.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        threads: int,
        observe: Callable[[float], None],
        on_idle: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        self._observe = observe
        self._on_idle = on_idle
        self._clock = clock
        self._mean = RunningMean()
        self._busy = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="decode")

    @property
    def busy(self) -> int:
        """Jobs that wait for a thread or have one, those whose caller is gone but that still run among them."""
        return self._busy

    @property
    def queued(self) -> int:
        """Jobs that wait for a thread."""
        return max(0, self._busy - self.threads)

    def predicted_wait(self) -> float:
        """Seconds until an image that came now would be decoded."""
        return self._busy * self._mean.value / self.threads

    async def run(
        self, work: Callable[[_Given], _Made], given: _Given, *, deadline: float = float("inf")
    ) -> Decoded[_Made]:
        """Do `work` on what is given, a body or a tensor. Cancelled, or too late, while it waits, it costs nothing.

        Raises:
            ImageError: what `work` raises where the image cannot be judged.
            DeadlineExceeded: the clock passed `deadline` before a thread was free.
        """
        # The pool keeps a cancelled job, and with it what it was given, until a thread comes by: it is given a box
        # that can be emptied before.
        box = [given]
        del given
        with self._lock:
            self._busy += 1
        future = self._pool.submit(self._timed, work, box, submitted=self._clock(), deadline=deadline)
        future.add_done_callback(self._leave)
        try:
            return await asyncio.wrap_future(future)
        finally:
            box.clear()

    def close(self) -> None:
        """Drop what waits; a decode under way is left to end by itself, which it does within seconds."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _: "Future[Decoded[_Made]]") -> None:
        with self._lock:
            self._busy -= 1
            idle = self._busy == 0
        if idle:
            self._on_idle()

    def _timed(
        self, work: Callable[[_Given], _Made], box: list[_Given], *, submitted: float, deadline: float
    ) -> Decoded[_Made]:
        start = self._clock()
        if start > deadline:
            raise DeadlineExceeded("the deadline passed while the image waited to be decoded")
        try:
            made = work(box.pop())
        finally:
            end = self._clock()
            with self._lock:
                self._mean.update(end - start)
            self._observe(end - start)
        return Decoded(made, submitted, start, end)
