"""Natural batching: one thread takes what is there, runs the model, and takes again.

It waits for more, and not for long, only while decoding is further behind than the model.
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


class CanScore(Protocol):
    """What a batcher needs of a model: uint8 `[N, S, S, 3]` -> `Scores` of N."""

    def score(self, images: Pixels) -> Scores: ...


class BatchObserver(Protocol):
    """What a batcher tells of its work; the metrics are one."""

    def observe_wait(self, seconds: float) -> None: ...

    def observe_batch(self, images: int, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of one item's images, in order, and when the model began and ended with them, by the clock."""

    scores: list[Score]
    started: float
    ended: float


Done = Callable[[Scored | Exception], None]
"""Is told what became of an item, in the inference thread."""


@dataclass(slots=True, eq=False)
class Item:
    """One image or several that came together; never divided."""

    pixels: Pixels
    arrived: float
    deadline: float
    done: Done | None

    @property
    def images(self) -> int:
        """How many."""
        return len(self.pixels)

    def settle(self, outcome: Scored | Exception) -> None:
        """Say what became of it, once."""
        if self.done is not None:
            done, self.done = self.done, None
            try:
                done(outcome)
            except Exception:
                log.exception("what became of an image could not be told")


class Batcher:
    """Owns the inference thread and the queue before it.

    Args:
        scorer: the model.
        observer: is told of waits and batches, from the inference thread.
        max_batch_size: most images in one run.
        max_batch_delay: longest wait in seconds for more images while there is a backlog; 0 never waits. Nobody is kept
            waiting who has less time left than two of these.
        backlog: seconds of decoding that wait for a thread. While these are more than the model needs for what it has,
            every core has something better to do than to run it, and a run of several images costs each of them less.
        clock: seconds, monotonic.
        prepare: is called once in the inference thread before anything else.
    """

    def __init__(
        self,
        scorer: CanScore,
        observer: BatchObserver,
        *,
        max_batch_size: int,
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
        self._hurried = False
        self._changed = threading.Condition()
        self._closing = False
        self._mean = RunningMean()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        """Start the inference thread."""
        self._thread.start()

    def submit(self, pixels: Pixels, done: Done, *, waited: float = 0.0, deadline: float = float("inf")) -> Item:
        """Queue one item, uint8 `[N, S, S, 3]` with N <= `max_batch_size`, that waited some seconds elsewhere already.

        Once the clock has passed `deadline` it costs no inference.

        Raises:
            ValueError: there are more images than one run of the model takes.
            NotReady: the inference thread does not run.
        """
        if len(pixels) > self.max_batch_size:
            raise ValueError(f"{len(pixels)} images in one item: a run of the model takes {self.max_batch_size}")
        now = self._clock()
        item = Item(pixels, now - waited, deadline, done)
        with self._changed:
            if self._closing or not self.is_alive:
                raise NotReady("the inference thread has ended: this replica decides nothing more")
            self._queue.append(item)
            self._queued += item.images
            self._hurried |= deadline - now < 2 * self._max_batch_delay
            # What waits for a full batch is not woken by each image of it.
            if len(self._queue) == 1 or self._is_ripe():
                self._changed.notify()
        return item

    def drop(self, item: Item) -> bool:
        """Forget an item that nobody waits for any more; False where it is too late."""
        with self._changed:
            try:
                self._queue.remove(item)
            except ValueError:
                return False
            self._queued -= item.images
            return True

    def drop_all(self) -> int:
        """Forget all that waits; how many images that were."""
        with self._changed:
            dropped, self._queued = self._queued, 0
            self._queue.clear()
            return dropped

    def nudge(self) -> None:
        """Look again whether there is anything to wait for: the backlog is less."""
        with self._changed:
            if self._queue and self._is_ripe():
                self._changed.notify()

    def predicted_wait(self) -> float:
        """Seconds until an image that came now would be taken."""
        return self._queued * self._mean.value

    @property
    def queued(self) -> int:
        """Images that wait for the model."""
        return self._queued

    @property
    def is_alive(self) -> bool:
        """Whether the inference thread runs."""
        return self._thread.is_alive()

    def close(self, *, timeout: float | None = None) -> None:
        """Finish what is queued, then end the thread; wait for that so many seconds at most."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        batch: list[Item] = []
        try:
            self._prepare()
            while batch := self._take():
                self._answer(batch)
        except BaseException:
            log.critical("the inference thread has died", exc_info=True)
        finally:
            self._abandon(batch)

    def _take(self) -> list[Item]:
        """Wait for images; an empty list means that the batcher is closed and its queue is empty."""
        batch: list[Item] = []
        while not batch:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return []
                if self._max_batch_delay > 0:
                    self._changed.wait_for(self._is_ripe, timeout=self._max_batch_delay)
                taken = self._pop_batch()
            batch = [item for item in taken if self._is_in_time(item)]
        return batch

    def _pop_batch(self) -> list[Item]:
        taken: list[Item] = []
        images = 0
        while self._queue and images + self._queue[0].images <= self.max_batch_size:
            taken.append(self._queue.popleft())
            images += taken[-1].images
        self._queued -= images
        self._hurried &= bool(self._queue)
        return taken

    def _is_in_time(self, item: Item) -> bool:
        if self._clock() <= item.deadline:
            return True
        item.settle(DeadlineExceeded("the deadline passed while the image waited for the model"))
        return False

    def _is_ripe(self) -> bool:
        """Whether nothing is gained by waiting for another image."""
        is_due = self._closing or self._hurried or self._queued >= self.max_batch_size
        return is_due or self._backlog() <= self.predicted_wait()

    def _answer(self, batch: list[Item]) -> None:
        now = self._clock()
        for item in batch:
            self._observer.observe_wait(now - item.arrived)
        try:
            scored = self._score(batch)
        except Exception:
            # One item, or one moment, may be at fault: the others must not pay for it.
            log.warning("a batch of %d failed: each of its items is tried alone", len(batch), exc_info=True)
            for item in batch:
                self._answer_alone(item)
            return
        for item, found in zip(batch, scored, strict=True):
            item.settle(found)

    def _answer_alone(self, item: Item) -> None:
        try:
            (found,) = self._score([item])
        except Exception as error:
            item.settle(error)
        else:
            item.settle(found)

    def _score(self, batch: list[Item]) -> list[Scored]:
        pixels = batch[0].pixels if len(batch) == 1 else np.concatenate([item.pixels for item in batch])
        start = self._clock()
        answers = self._scorer.score(pixels)
        end = self._clock()
        self._mean.update((end - start) / len(pixels))
        self._observer.observe_batch(len(pixels), end - start)
        scores = answers.each()
        if len(scores) != len(pixels):
            raise RuntimeError(f"the model answered {len(scores)} of {len(pixels)} images")
        rest = iter(scores)
        return [Scored([next(rest) for _ in range(item.images)], start, end) for item in batch]

    def _abandon(self, batch: list[Item]) -> None:
        """Nobody may wait for a thread that is gone: neither those it was busy with nor those in the queue."""
        with self._changed:
            self._closing = True
            left, self._queue = self._queue, deque()
            self._queued = 0
        for item in (*batch, *left):
            item.settle(NotReady("the inference thread ended before this image was scored"))
