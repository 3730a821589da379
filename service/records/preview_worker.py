"""The thread that hashes images and makes previews for the review."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gate import Budget
from gate.cores import usable_cores
from service.inference.preprocess import Source
from service.metrics.records import RecordMetrics
from service.records.decision_record import DecisionRecord
from service.records.preview import detach, digest, make_preview, size_of

log = logging.getLogger(__name__)

MAX_BYTES = 64 * 2**20
"""Limit for images in memory, in bytes; further ones are recorded without preview and hash."""

ACCEPTED_BYTES = 16 * 2**20
"""Limit for images that only need a hash."""

BUSY_ACCEPTED_BYTES = 2 * 2**20
"""Limit for images that only need a hash while others wait to be decoded: long-held images leave the CPU caches, and
reading them again evicts useful data."""

BUSY_SHARE = 0.01
"""Share of all cores' time for this work while images wait to be decoded; work beyond it is dropped."""

BURST_SECONDS = 0.01
"""Length of one burst of work in that case: a wake-up per image would interrupt decisions 1,000 times per second."""

PAUSE_SECONDS = 0.005
"""Pause of an idle thread before it waits for the next image, so that it is not woken for each of many small images:
every wake-up interrupts the event loop. While images wait to be decoded there is none: few may be held then."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The JPEG of a record, and the hash of the original image."""

    record: str
    jpeg: bytes
    sha256: str


class PreviewWorker:
    """Hashes all images in the background, and decodes those for the review again.

    A PNG of 1.4 MB takes 0.9 ms to hash, a tenth of the time to decode. So this work has low priority, and images for
    the review come first.

    Args:
        done: receives each preview, in the worker thread.
        metrics: receives the results.
        max_pixels: limit for decoding, in pixels.
        budget: limits the memory of concurrent decodes.
        is_busy: whether images wait to be decoded.
        cores: number of cores that the share of time refers to; all available ones by default.
        share: this worker's part of a limit of all workers.
        burst_seconds: length of one burst of work while images wait to be decoded.
        sleep: sleeps for a number of seconds.
    """

    def __init__(
        self,
        done: Callable[[DecisionRecord, Preview], None],
        metrics: RecordMetrics,
        *,
        max_pixels: int,
        budget: Budget | None = None,
        is_busy: Callable[[], bool],
        cores: int | None = None,
        share: Callable[[int], int] = lambda total: total,
        burst_seconds: float = BURST_SECONDS,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._done = done
        self._metrics = metrics
        self._max_pixels = max_pixels
        self._budget = budget
        self._is_busy = is_busy
        self._sleep = sleep
        self._burst_seconds = burst_seconds
        # Share of one core, since there is one thread.
        self._share = min(1.0, BUSY_SHARE * share(cores or usable_cores()))
        self._max_bytes, self._max_accepted = share(MAX_BYTES), share(ACCEPTED_BYTES)
        self._max_busy = share(BUSY_ACCEPTED_BYTES)
        self.held = 0
        """Bytes of queued and current images."""
        self._is_closed = False
        self._reviewable: deque[tuple[DecisionRecord, Source]] = deque()
        self._accepted: deque[tuple[DecisionRecord, Source]] = deque()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="preview-worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, record: DecisionRecord, source: Source) -> None:
        """Queue the image, or drop it without room. Returns at once; `record.is_processed` is set in the end."""
        size = size_of(source)
        with self._changed:
            if self._is_closed or not self._has_room(record, size):
                self._give_up(record)
                return
            self.held += size
            (self._reviewable if record.is_reviewable else self._accepted).append((record, detach(source)))
            self._changed.notify()

    def close(self, *, timeout: float) -> None:
        """Finish the queue, within `timeout` seconds."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _has_room(self, record: DecisionRecord, size: int) -> bool:
        if record.is_reviewable:
            return self.held + size <= self._max_bytes
        if self._is_busy() and self.held >= self._max_busy:
            return False
        return self.held + size <= self._max_accepted

    def _run(self) -> None:
        rested = time.thread_time()
        while job := self._take():
            self._try(*job)
            with self._changed:
                self.held -= size_of(job[1])
            del job  # Otherwise it stays in memory until the next one.
            worked = time.thread_time() - rested
            if worked >= self._burst_seconds:
                if self._is_busy() and not self._is_closed:
                    self._sleep(worked * (1 / self._share - 1))
                rested = time.thread_time()

    def _take(self) -> tuple[DecisionRecord, Source] | None:
        """Wait for the next image; None after `close`."""
        if not (self._reviewable or self._accepted or self._is_closed or self._is_busy()):
            time.sleep(PAUSE_SECONDS)
        with self._changed:
            while not (self._reviewable or self._accepted or self._is_closed):
                self._changed.wait()
            queue = self._reviewable or self._accepted
            return queue.popleft() if queue else None

    def _try(self, record: DecisionRecord, source: Source) -> None:
        """Process one image and survive any fault, since the thread must go on."""
        try:
            self._process(record, source)
        except Exception:
            log.exception("cannot process an image for its record", extra={"fields": {"record": record.record}})
            self._give_up(record)

    def _process(self, record: DecisionRecord, source: Source) -> None:
        if record.is_written and not record.is_reviewable:
            self._give_up(record)
            return
        sha256 = digest(source)
        record.sha256 = sha256
        if record.is_reviewable:
            self._make_preview(record, source, sha256)
        record.is_processed = True
        self._metrics.observe_hash("written")

    def _make_preview(self, record: DecisionRecord, source: Source, sha256: str) -> None:
        try:
            jpeg = make_preview(source, max_pixels=self._max_pixels, budget=self._budget)
        except Exception:
            log.exception("cannot make a preview of an image", extra={"fields": {"record": record.record}})
            self._metrics.observe_images("dropped")
        else:
            self._done(record, Preview(record.record, jpeg, sha256))

    def _give_up(self, record: DecisionRecord) -> None:
        record.is_processed = True
        self._metrics.observe_hash("dropped")
        if record.is_reviewable:
            self._metrics.observe_images("dropped")
