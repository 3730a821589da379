"""The pool that turns bodies into pixels, one image a job; the decoders release the GIL."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from gate.cores import usable_cores
from service.errors import DeadlineExceeded, NotReady
from service.futures import call_in_loop, settle
from service.inference.running_mean import RunningMean

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

    The threads do the work and nothing else: what is counted is counted in the event loop, and needs no lock.

    Args:
        threads: how many jobs run at a time; 0 is one per core this process may use.
        observe: is told the seconds of each job.
        on_end: is called when a job has ended, or nobody wants it any more, so that the backlog is less.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        threads: int,
        observe: Callable[[float], None],
        on_end: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threads = threads or usable_cores()
        self._observe = observe
        self._on_end = on_end
        self._clock = clock
        self._mean = RunningMean()
        self._busy = 0
        self._closed = False
        self._jobs: SimpleQueue[_Job[Any, Any] | None] = SimpleQueue()
        for number in range(self.threads):
            threading.Thread(target=self._run_jobs, name=f"decode-{number}", daemon=True).start()

    @property
    def busy(self) -> int:
        """Jobs that have not ended, as far as the event loop knows, those whose caller is gone among them."""
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
            NotReady: the pool is closed.
        """
        if self._closed:
            raise NotReady("the decode threads have ended: this replica decides nothing more")
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
        finally:
            del job  # An error knows this frame by its traceback, and the job knows the error.

    def close(self) -> None:
        """Drop what waits and end the threads, each after the decode that it is busy with."""
        self._closed = True
        with contextlib.suppress(Empty):
            while job := self._jobs.get_nowait():
                job.future.cancel()
        for _ in range(self.threads):
            self._jobs.put(None)

    def _leave(self) -> None:
        self._busy -= 1
        self._on_end()

    def _run_jobs(self) -> None:
        while job := self._jobs.get():
            if job.take():
                self._run_job(job)
            del job  # What it made would be kept until the next one comes.

    def _run_job(self, job: _Job[Any, Any]) -> None:
        given, job.given = job.given, None
        outcome: Decoded[Any] | Exception
        started = self._clock()
        seconds = None
        if started > job.deadline:
            outcome = DeadlineExceeded("the deadline passed while the image waited to be decoded")
        else:
            try:
                outcome = Decoded(job.work(given), job.submitted, started, self._clock())
            except Exception as error:
                outcome = error
            except BaseException as error:  # Asyncio would end the event loop by it.
                outcome = RuntimeError(f"decoding ended by {error!r}")
            seconds = self._clock() - started
        del given
        call_in_loop(job.future.get_loop(), self._end, job, outcome, seconds)
        del job, outcome  # As above.

    def _end(self, job: _Job[Any, _Made], outcome: Decoded[_Made] | Exception, seconds: float | None) -> None:
        if seconds is not None:
            self._mean.update(seconds)
            self._observe(seconds)
        settle(job.future, outcome)
        # After whoever waits for it has gone on, so that a batch that was held for more is not run without this one.
        asyncio.get_running_loop().call_soon(self._leave)
