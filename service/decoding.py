"""The pool that turns bodies into pixels, one image a job; the decoders release the GIL."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from service.errors import DeadlineExceeded
from service.estimate import RunningMean
from service.handover import call_in_loop, settle

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


@dataclass(slots=True)
class _Job(Generic[_Given, _Made]):
    """One piece of work."""

    work: Callable[[_Given], _Made]
    given: _Given | None
    submitted: float
    deadline: float
    future: "asyncio.Future[Decoded[_Made]]"
    taken: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> bool:
        """Whether it is the caller's now: that of the first who asks, a thread or the one who waits no more."""
        return self.taken.acquire(blocking=False)


class DecodePool:
    """Decodes on `threads` threads, straight down to the model's size, so that only kilobytes wait in the queue.

    All but the work itself happens in the event loop, so that nothing needs a lock.

    Args:
        threads: how many jobs run at a time; 0 is one per core this process may use.
        observe: is told the seconds of each job.
        on_caught_up: is called when no job waits for a thread any more.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        threads: int,
        observe: Callable[[float], None],
        on_caught_up: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        self._observe = observe
        self._on_caught_up = on_caught_up
        self._clock = clock
        self._mean = RunningMean()
        self._busy = 0
        self._jobs: SimpleQueue[_Job[Any, Any] | None] = SimpleQueue()
        for number in range(self.threads):
            threading.Thread(target=self._run_jobs, name=f"decode-{number}", daemon=True).start()

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

    def backlog(self) -> float:
        """Seconds that all threads together will be busy with what waits for one of them."""
        return self.queued * self._mean.value / self.threads

    async def run(
        self, work: Callable[[_Given], _Made], given: _Given, *, deadline: float = float("inf")
    ) -> Decoded[_Made]:
        """Do `work` on what is given, a body or a tensor. Cancelled, or too late, while it waits, it costs nothing.

        Raises:
            ImageError: what `work` raises where the image cannot be judged.
            DeadlineExceeded: the clock passed `deadline` before a thread was free.
        """
        job = _Job(work, given, self._clock(), deadline, asyncio.get_running_loop().create_future())
        del given  # It ends with the work, or with the caller.
        self._busy += 1
        self._jobs.put(job)
        try:
            return await job.future
        except asyncio.CancelledError:
            if job.take():
                job.given = None
                self._leave()
            raise

    def close(self) -> None:
        """End the threads; a decode under way is left to end by itself, which it does within seconds."""
        for _ in range(self.threads):
            self._jobs.put(None)

    def _leave(self) -> None:
        self._busy -= 1
        if self._busy == self.threads:
            self._on_caught_up()

    def _run_jobs(self) -> None:
        while job := self._jobs.get():
            if job.take():
                self._run_job(job)
            del job  # What it made would be kept until the next one comes.

    def _run_job(self, job: _Job[Any, Any]) -> None:
        given, job.given = job.given, None
        outcome: Decoded[Any] | BaseException
        started = self._clock()
        seconds = None
        if started > job.deadline:
            outcome = DeadlineExceeded("the deadline passed while the image waited to be decoded")
        else:
            try:
                outcome = Decoded(job.work(given), job.submitted, started, self._clock())
            except BaseException as error:  # Whatever it is, it is the caller's to see, and the thread goes on.
                outcome = error
            seconds = self._clock() - started
        del given
        call_in_loop(job.future.get_loop(), self._end, job, outcome, seconds)
        del outcome  # An error knows this frame by its traceback, and the two would keep each other.

    def _end(self, job: _Job[Any, _Made], outcome: Decoded[_Made] | BaseException, seconds: float | None) -> None:
        self._leave()
        if seconds is not None:
            self._mean.update(seconds)
            self._observe(seconds)
        settle(job.future, outcome)
