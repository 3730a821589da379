"""The thread that hashes what was judged, and makes small pictures of what people may want to see."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gate import Budget
from gate.cores import usable_cores
from service.metrics.records import RecordMetrics
from service.records.decision_record import Entry
from service.records.preview import Source, detach, digest, preview, size_of

log = logging.getLogger(__name__)

MAX_BYTES = 64 * 2**20
"""Most bytes of images that are held; further ones are recorded without a picture, and without a hash."""

ACCEPTED_BYTES = 16 * 2**20
"""Of these, most that images may have of which a hash is all that is kept."""

BUSY_ACCEPTED_BYTES = 2 * 2**20
"""Where images wait to be decoded, no more are taken in from here on: what is held long has left the caches meanwhile,
and what takes its place there is cold too."""

BUSY_SHARE = 0.01
"""Of all cores' time, what this work takes while images wait to be decoded. What there is no time for is left out."""

BURST_SECONDS = 0.01
"""How long it works at a time then: to come for each image would interrupt the decisions a thousand times a second."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The JPEG that is kept for a record, and the hash of what it is a picture of."""

    record: str
    jpeg: bytes
    sha256: str


class Examiner:
    """Looks at images again, behind the answers: hashing all and decoding again what was discarded.

    Both cost: a PNG of 1.4 MB takes .9 ms to hash, a tenth of what it takes to decode. So this is work for the time
    that decisions leave, and what was discarded comes first.

    Args:
        done: is given each picture, in this thread.
        metrics: is told of everything.
        max_pixels: most pixels that are decoded.
        budget: where an image waits until there is memory to decode it.
        is_busy: whether images wait to be decoded.
        cores: of which this work may take its share; where there is none given, those that there are.
        burst_seconds: how long it works at a time while images wait to be decoded.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        done: Callable[[Entry, Picture], None],
        metrics: RecordMetrics,
        *,
        max_pixels: int,
        budget: Budget | None = None,
        is_busy: Callable[[], bool] = lambda: False,
        cores: int | None = None,
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
        # Of one core: there is one thread.
        self._share = min(1.0, BUSY_SHARE * (cores or usable_cores()))
        self._held = 0
        self._is_closed = False
        self._looked_at: deque[tuple[Entry, Source]] = deque()
        self._accepted: deque[tuple[Entry, Source]] = deque()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="examiner", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def held(self) -> int:
        """Bytes of images that wait or are being examined."""
        return self._held

    def submit(self, entry: Entry, source: Source) -> None:
        """Examine it some time, or never. Returns at once; `entry.is_examined` says when nothing more is to come."""
        size = size_of(source)
        with self._changed:
            if self._is_closed or not self._has_room(entry, size):
                self._give_up(entry)
                return
            self._held += size
            (self._looked_at if entry.is_looked_at else self._accepted).append((entry, detach(source)))
            self._changed.notify()

    def close(self, *, timeout: float) -> None:
        """Finish what waits, for so many seconds at most."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _has_room(self, entry: Entry, size: int) -> bool:
        if entry.is_looked_at:
            return self._held + size <= MAX_BYTES
        if self._is_busy() and self._held >= BUSY_ACCEPTED_BYTES:
            return False
        return self._held + size <= ACCEPTED_BYTES

    def _run(self) -> None:
        rested = time.thread_time()
        while job := self._take():
            self._try(*job)
            with self._changed:
                self._held -= size_of(job[1])
            del job  # It would be kept until the next one comes.
            worked = time.thread_time() - rested
            if worked >= self._burst_seconds:
                if self._is_busy() and not self._is_closed:
                    self._sleep(worked * (1 / self._share - 1))
                rested = time.thread_time()

    def _take(self) -> tuple[Entry, Source] | None:
        """The next one; None where there will be none."""
        with self._changed:
            while not (self._looked_at or self._accepted or self._is_closed):
                self._changed.wait()
            queue = self._looked_at or self._accepted
            return queue.popleft() if queue else None

    def _try(self, entry: Entry, source: Source) -> None:
        """Examine it. The thread must not end by a fault: nothing would be examined from then on."""
        try:
            self._examine(entry, source)
        except Exception:
            log.exception("an image that was judged cannot be examined", extra={"fields": {"record": entry.record}})
            self._give_up(entry)

    def _examine(self, entry: Entry, source: Source) -> None:
        if entry.is_written and not entry.is_looked_at:
            self._give_up(entry)
            return
        sha256 = digest(source)
        entry.sha256 = sha256
        if entry.is_looked_at:
            self._picture(entry, source, sha256)
        entry.is_examined = True
        self._metrics.observe_hash("written")

    def _picture(self, entry: Entry, source: Source, sha256: str) -> None:
        try:
            jpeg = preview(source, max_pixels=self._max_pixels, budget=self._budget)
        except Exception:
            log.exception("no picture of an image that was judged", extra={"fields": {"record": entry.record}})
            self._metrics.observe_images("dropped")
        else:
            self._done(entry, Picture(entry.record, jpeg, sha256))

    def _give_up(self, entry: Entry) -> None:
        entry.is_examined = True
        self._metrics.observe_hash("dropped")
        if entry.is_looked_at:
            self._metrics.observe_images("dropped")
