"""Natural batching: each inference thread takes its share of the queued images, runs the model on them, and repeats.

It waits briefly for more images only while decoding is further behind than the model.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gate.pixels import Pixels
from gate.scorer import Score, Scores
from service.errors import DeadlineExceeded, NotReady
from service.inference.running_mean import RunningMean

log = logging.getLogger(__name__)

_MIN_SHARE = 4  # Images that a thread takes before it leaves some to the others: fewer cost more each.


class CanScore(Protocol):
    """A model, as the batcher calls it: uint8 `[N, S, S, 3]` -> `Scores` of N."""

    def score(self, images: Pixels) -> Scores: ...


class BatchObserver(Protocol):
    """Receives the batcher's measurements, from several threads; the metrics implement it."""

    def observe_wait(self, seconds: float) -> None: ...

    def observe_batch(self, images: int, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of one item's images in order, with the start and end of the model's run by the clock."""

    scores: list[Score]
    started: float
    ended: float


Done = Callable[[Scored | Exception], None]
"""Receives the outcome of an item, in the inference thread."""


@dataclass(slots=True, eq=False)
class Item:
    """One or more images of one request, scored in the same run."""

    pixels: Pixels
    arrived: float
    deadline: float
    done: Done | None

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.pixels)

    def settle(self, outcome: Scored | Exception) -> None:
        """Report the outcome; only the first call counts."""
        if self.done is not None:
            done, self.done = self.done, None
            try:
                done(outcome)
            except Exception:
                log.exception("the outcome of an image could not be delivered")


class Batcher:
    """Owns the inference threads and the queue before them.

    Args:
        scorer: the model.
        observer: receives waits and batches, from the inference threads.
        max_batch_size: largest number of images in one run.
        threads: number of runs at a time; each run takes one core.
        max_batch_delay: longest wait in seconds for more images while there is a backlog; 0 never waits. An image with
            less than twice this time to its deadline is not delayed.
        backlog: seconds of decoding that are queued. While this exceeds the model's time for the queued images, all
            cores are busy decoding, and a larger batch costs less per image.
        clock: seconds, monotonic.
        prepare: called in each inference thread, before its first run.
    """

    def __init__(
        self,
        scorer: CanScore,
        observer: BatchObserver,
        *,
        max_batch_size: int,
        threads: int = 1,
        max_batch_delay: float = 0.0,
        backlog: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.monotonic,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self.max_batch_size = max_batch_size
        self._scorer = scorer
        self._observer = observer
        self._max_batch_delay = max_batch_delay
        self._backlog = backlog
        self._clock = clock
        self._prepare = prepare
        self._queue: deque[Item] = deque()
        self._queued = 0
        self._is_urgent = False
        self._changed = threading.Condition()
        self._closing = True  # Until `start`.
        self._mean = RunningMean()
        self._threads = [threading.Thread(target=self._run, name="inference", daemon=True) for _ in range(threads)]

    def start(self) -> None:
        """Start the inference threads."""
        self._closing = False
        for thread in self._threads:
            thread.start()

    def part_size(self, images: int) -> int:
        """Return the size of the items into which so many images of one request are cut, a share for each thread."""
        return min(self.max_batch_size, self._share(images))

    def submit(self, pixels: Pixels, done: Done, *, waited: float = 0.0, deadline: float = float("inf")) -> Item:
        """Queue one item, uint8 `[N, S, S, 3]` with N <= `max_batch_size`; `waited` adds earlier seconds to its wait.

        An item whose `deadline` has passed by the clock is not scored.

        Raises:
            ValueError: there are more images than one run of the model takes.
            NotReady: the inference threads do not run.
        """
        if len(pixels) > self.max_batch_size:
            raise ValueError(f"{len(pixels)} images in one item: a run of the model takes {self.max_batch_size}")
        now = self._clock()
        item = Item(pixels, now - waited, deadline, done)
        with self._changed:
            if self._closing:  # Also after a thread has died.
                raise NotReady("the inference thread has ended: send this to another replica, and restart this one")
            self._queue.append(item)
            self._queued += item.images
            self._is_urgent |= deadline - now < 2 * self._max_batch_delay
            # A thread that waits for a full batch is not woken by each image.
            if len(self._queue) == 1 or self._should_run():
                self._changed.notify()
        return item

    def drop(self, item: Item) -> bool:
        """Remove an item whose caller has left; return False if the model has begun with it."""
        with self._changed:
            try:
                self._queue.remove(item)
            except ValueError:
                return False
            self._queued -= item.images
            return True

    def drop_all(self) -> int:
        """Remove all queued items; return their number of images."""
        with self._changed:
            dropped, self._queued = self._queued, 0
            self._queue.clear()
            return dropped

    def recheck(self) -> None:
        """Check again whether to wait for more images: the backlog is shorter."""
        with self._changed:
            if self._queue and self._should_run():
                self._changed.notify()

    def predicted_wait(self) -> float:
        """Seconds until the model takes an image that arrives now."""
        return self._queued * self._mean.value / len(self._threads)

    @property
    def queued(self) -> int:
        """Images in the queue."""
        return self._queued

    @property
    def is_alive(self) -> bool:
        """Whether the inference threads run. One that dies ends the others too."""
        return all(thread.is_alive() for thread in self._threads)

    def close(self, *, timeout: float | None = None) -> None:
        """Finish the queued items, then end the threads; wait at most `timeout` seconds for that."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        end = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            if thread.is_alive():
                thread.join(None if end is None else max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        batch: list[Item] = []
        try:
            self._prepare()
            while batch := self._take():
                self._answer(batch)
                batch = []  # While the thread waits, it keeps no pixels, which may be a view of a whole body.
        except BaseException:
            log.critical("the inference thread has died", exc_info=True)
        finally:
            self._abandon(batch)

    def _take(self) -> list[Item]:
        """Wait for items; return an empty list once the batcher is closed and its queue empty."""
        batch: list[Item] = []
        while not batch:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return []
                if self._max_batch_delay > 0:
                    self._changed.wait_for(self._should_run, timeout=self._max_batch_delay)
                taken = self._pop_batch()
            batch = [item for item in taken if self._is_in_time(item)]
            taken.clear()
        return batch

    def _pop_batch(self) -> list[Item]:
        taken: list[Item] = []
        images, most = 0, self.part_size(self._queued)
        # The first item may exceed a share, because an item is scored in one run.
        while self._queue and (not taken or images + self._queue[0].images <= most):
            taken.append(self._queue.popleft())
            images += taken[-1].images
        self._queued -= images
        self._is_urgent &= bool(self._queue)
        if self._queue:
            self._changed.notify()
        return taken

    def _share(self, images: int) -> int:
        if len(self._threads) == 1:
            return images
        return max(_MIN_SHARE, -(-images // len(self._threads)))

    def _is_in_time(self, item: Item) -> bool:
        if self._clock() <= item.deadline:
            return True
        item.settle(DeadlineExceeded("the deadline passed while the image waited for the model"))
        return False

    def _should_run(self) -> bool:
        """Whether to run now instead of waiting for more images."""
        is_due = self._closing or self._is_urgent or self._queued >= self.max_batch_size
        return is_due or self._backlog() <= self.predicted_wait()

    def _answer(self, batch: list[Item]) -> None:
        now = self._clock()
        for item in batch:
            self._observer.observe_wait(now - item.arrived)
        try:
            scored = self._score(batch)
        except Exception:
            # A single item, or a passing fault, must not fail the other items of the batch.
            log.warning("a batch of %d failed: each of its items is retried alone", len(batch), exc_info=True)
            for item in batch:
                self._answer_alone(item)
            return
        for item, result in zip(batch, scored, strict=True):
            item.settle(result)

    def _answer_alone(self, item: Item) -> None:
        try:
            (result,) = self._score([item])
        except Exception as error:
            item.settle(error)
        else:
            item.settle(result)

    def _score(self, batch: list[Item]) -> list[Scored]:
        pixels = batch[0].pixels if len(batch) == 1 else np.concatenate([item.pixels for item in batch])
        start = self._clock()
        answers = self._scorer.score(pixels)
        end = self._clock()
        with self._changed:
            self._mean.update((end - start) / len(pixels))
        self._observer.observe_batch(len(pixels), end - start)
        scores = answers.each()
        if len(scores) != len(pixels):
            raise RuntimeError(f"the model answered {len(scores)} of {len(pixels)} images")
        rest = iter(scores)
        return [Scored([next(rest) for _ in range(item.images)], start, end) for item in batch]

    def _abandon(self, batch: list[Item]) -> None:
        """Fail the current batch and the queue, so that no caller waits for a thread that has ended."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            left, self._queue = self._queue, deque()
            self._queued = 0
        for item in (*batch, *left):
            item.settle(NotReady("the inference thread ended before this image was scored"))
