"""Natural batching: one thread takes what is there, runs the model, and takes again. No timer, no tick."""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gate.pixels import Pixels
from gate.scorer import Score, Scores
from service.errors import NotReady
from service.estimate import RunningMean

log = logging.getLogger(__name__)


class CanScore(Protocol):
    """What a batcher needs of a model: uint8 `[N, S, S, 3]` -> `Scores` of N."""

    def score(self, images: Pixels) -> Scores: ...


class BatchObserver(Protocol):
    """What a batcher tells of its work; the metrics are one."""

    def observe_wait(self, seconds: float) -> None: ...

    def observe_batch(self, images: int, seconds: float) -> None: ...


@dataclass(slots=True, eq=False)
class _Item:
    pixels: Pixels
    arrived: float
    future: "Future[Score]" = field(default_factory=Future)


class Batcher:
    """Owns the inference thread and the queue before it.

    Args:
        scorer: the model.
        observer: is told of waits and batches, from the inference thread.
        max_batch_size: most images in one run.
        max_batch_delay: longest wait in seconds for images that are still being decoded; 0 never waits.
        decoding: how many images are being decoded.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        scorer: CanScore,
        observer: BatchObserver,
        *,
        max_batch_size: int,
        max_batch_delay: float = 0.0,
        decoding: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scorer = scorer
        self._observer = observer
        self._max_batch_size = max_batch_size
        self._max_batch_delay = max_batch_delay
        self._decoding = decoding
        self._clock = clock
        self._queue: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._mean = RunningMean()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def submit(self, pixels: Pixels, *, waited: float = 0.0) -> "Future[Score]":
        """Queue one image, uint8 `[S, S, 3]`, that waited some seconds elsewhere already.

        Cancel the future and the image costs no inference.

        Raises:
            NotReady: the inference thread is gone.
        """
        item = _Item(pixels, self._clock() - waited)
        with self._changed:
            if self._closing or not self.is_alive:
                raise NotReady("the inference thread has ended: this replica decides nothing more")
            self._queue.append(item)
            self._changed.notify()
        item.future.add_done_callback(lambda future: self._forget(item) if future.cancelled() else None)
        return item.future

    def nudge(self) -> None:
        """Look again whether there is anything to wait for: a decode ended without an image."""
        with self._changed:
            self._changed.notify()

    def predicted_wait(self) -> float:
        """Seconds until an image that came now would be taken."""
        return len(self._queue) * self._mean.value

    @property
    def queued(self) -> int:
        """Images that wait for the model."""
        return len(self._queue)

    @property
    def is_alive(self) -> bool:
        """Whether the inference thread runs."""
        return self._thread.is_alive()

    def close(self, *, timeout: float | None = None) -> None:
        """Finish what is queued, then end the thread; wait for that so many seconds at most."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)

    def _forget(self, item: _Item) -> None:
        with self._changed, contextlib.suppress(ValueError):
            self._queue.remove(item)

    def _run(self) -> None:
        batch: list[_Item] = []
        try:
            while batch := self._take():
                self._answer(batch)
        except BaseException:
            log.critical("the inference thread has died", exc_info=True)
        finally:
            self._abandon(batch)

    def _take(self) -> list[_Item]:
        """Wait for images; an empty list means that the batcher is closed and its queue is empty."""
        batch: list[_Item] = []
        while not batch:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return []
                self._wait_for_decodes()
                count = min(len(self._queue), self._max_batch_size)
                taken = [self._queue.popleft() for _ in range(count)]
            batch = [item for item in taken if item.future.set_running_or_notify_cancel()]
        return batch

    def _wait_for_decodes(self) -> None:
        if self._max_batch_delay > 0:
            self._changed.wait_for(
                lambda: self._closing or len(self._queue) >= self._max_batch_size or not self._decoding(),
                timeout=self._max_batch_delay,
            )

    def _answer(self, batch: list[_Item]) -> None:
        now = self._clock()
        for item in batch:
            self._observer.observe_wait(now - item.arrived)
        try:
            scores = self._score(batch)
        except Exception:
            # One image, or one moment, may be at fault: the others must not pay for it.
            log.warning("a batch of %d failed: each of its images is tried alone", len(batch), exc_info=True)
            for item in batch:
                self._answer_alone(item)
            return
        for item, score in zip(batch, scores, strict=True):
            item.future.set_result(score)

    def _answer_alone(self, item: _Item) -> None:
        try:
            (score,) = self._score([item])
        except Exception as error:
            item.future.set_exception(error)
        else:
            item.future.set_result(score)

    def _score(self, batch: list[_Item]) -> list[Score]:
        start = self._clock()
        scores = self._scorer.score(np.stack([item.pixels for item in batch]))
        seconds = self._clock() - start
        self._mean.update(seconds / len(batch))
        self._observer.observe_batch(len(batch), seconds)
        answers = scores.each()
        if len(answers) != len(batch):
            raise RuntimeError(f"the model answered {len(answers)} of {len(batch)} images")
        return answers

    def _abandon(self, batch: list[_Item]) -> None:
        """Nobody may wait for a thread that is gone: neither those it was busy with nor those in the queue."""
        with self._changed:
            self._closing = True
            left, self._queue = self._queue, deque()
        waiting = [item for item in left if item.future.set_running_or_notify_cancel()]
        for item in (*batch, *waiting):
            if not item.future.done():
                item.future.set_exception(NotReady("the inference thread ended before this image was scored"))
