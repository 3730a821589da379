"""Decode request bodies on a pool of threads, one image a task; the decoders release the GIL."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from gate import DecodeBudget
from gate.cores import usable_cores
from service.concurrency.futures import call_in_loop, settle
from service.errors import DeadlineExceeded, NotReady
from service.inference.payload import Payload
from service.inference.running_mean import RunningMean

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Decoded(Generic[_Made]):
    """The result of a task, with the times of its submission, start and end by the pool's clock."""

    made: _Made
    submitted: float
    started: float
    ended: float

    @property
    def waited(self) -> float:
        """Seconds until a thread was free."""
        return self.started - self.submitted


@dataclass(slots=True)
class _Task(Generic[_Given, _Made]):
    """One call of `work`, and the future of its result until the event loop has delivered it.

    An exception refers to the frames it passed, and those to the task: a task that kept its future, and by it the
    exception, would be a reference cycle.
    """

    work: Callable[[_Given], _Made]
    payload: Payload[_Given]
    submitted: float
    deadline: float
    loop: asyncio.AbstractEventLoop
    future: "Payload[asyncio.Future[Decoded[_Made]]]"
    claimed: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        """Return True to the first caller only: the thread that runs the task or the coroutine that gives it up."""
        return self.claimed.acquire(blocking=False)


class DecodePool:
    """Decodes on `threads` threads, straight down to the model's input size, so that only kilobytes are queued.

    The threads only run tasks. All counting happens in the event loop and needs no lock.

    Args:
        threads: number of tasks that run at a time; 0 is one per core that this process may use.
        observe: receives the seconds of each task.
        budget: bounds the memory of all decoders, those of other threads too.
        on_end: called when a task has ended or was given up, so that the backlog is shorter. May be set later.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        threads: int,
        observe: Callable[[float], None],
        budget: DecodeBudget | None = None,
        on_end: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threads = threads or usable_cores()
        self._observe = observe
        self.budget = budget or DecodeBudget()
        self.on_end = on_end
        self._clock = clock
        self._mean = RunningMean()
        self.busy = 0
        """Tasks that have not ended as far as the event loop knows, including those whose caller has left."""
        self._is_open = False
        self._tasks: SimpleQueue[_Task[Any, Any] | None] = SimpleQueue()

    def start(self) -> None:
        """Start the threads."""
        self._is_open = True
        for number in range(self.threads):
            threading.Thread(target=self._run_tasks, name=f"decode-{number}", daemon=True).start()

    @property
    def queued(self) -> int:
        """Tasks that wait for a thread."""
        return max(0, self.busy - self.threads)

    def predicted_wait(self) -> float:
        """Seconds until an image that arrives now is decoded."""
        return self.busy * self._mean.value / self.threads

    def backlog(self) -> float:
        """Seconds that all threads together need for the queued tasks."""
        return self.queued * self._mean.value / self.threads

    async def run(
        self, work: Callable[[_Given], _Made], payload: Payload[_Given], *, deadline: float = float("inf")
    ) -> Decoded[_Made]:
        """Run `work` on the data of `payload`. A task that is cancelled or late while it is queued costs no time.

        Raises:
            ImageError: `work` raised it, because the image cannot be judged.
            DeadlineExceeded: the clock passed `deadline` before a thread was free.
            NotReady: the pool is not started, or closed.
        """
        if not self._is_open:
            raise NotReady("the decode threads do not run: send this to another replica, and restart this one")
        loop = asyncio.get_running_loop()
        task = _Task(work, payload, self._clock(), deadline, loop, Payload(loop.create_future()))
        self.busy += 1
        self._tasks.put(task)
        try:
            return await task.future.data
        except asyncio.CancelledError:
            if task.claim():
                payload.drop()
                self._leave()
            raise

    def close(self) -> None:
        """Cancel the queued tasks and end each thread after its current task. Returns at once."""
        self._is_open = False
        with contextlib.suppress(Empty):
            while task := self._tasks.get_nowait():
                task.future.data.cancel()
        for _ in range(self.threads):
            self._tasks.put(None)

    def _leave(self) -> None:
        self.busy -= 1
        self.on_end()

    def _run_tasks(self) -> None:
        while task := self._tasks.get():
            if task.claim():
                # Without a local variable: an exception keeps the frames below it, and they must not keep it.
                call_in_loop(task.loop, self._end, task, *self._attempt(task))

    def _attempt(self, task: _Task[Any, _Made]) -> tuple[Decoded[_Made] | Exception, float | None]:
        """Run a task; return its outcome and the seconds that it took, None if it was too late."""
        started = self._clock()
        if started > task.deadline:
            task.payload.drop()
            return DeadlineExceeded("the deadline passed while the image waited to be decoded"), None
        try:
            result = task.work(task.payload.take())
        except Exception as error:
            return error, self._clock() - started
        except BaseException as error:  # Raised in the event loop, it would end the loop.
            return RuntimeError(f"decoding ended by {error!r}"), self._clock() - started
        ended = self._clock()
        return Decoded(result, task.submitted, started, ended), ended - started

    def _end(self, task: _Task[Any, _Made], outcome: Decoded[_Made] | Exception, seconds: float | None) -> None:
        if seconds is not None:
            self._mean.update(seconds)
            self._observe(seconds)
        settle(task.future.take(), outcome)
        # After the waiting coroutine has resumed, so that a batch that waits for more images includes this one.
        asyncio.get_running_loop().call_soon(self._leave)
