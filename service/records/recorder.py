"""Takes decisions from the event loop and writes them behind the answers, in batches, whatever the store does."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from gate import Action, Budget, Decision
from service.errors import RecordsUnavailable
from service.metrics.records import RecordMetrics
from service.records.decision_record import Entry
from service.records.preview import Source
from service.records.preview_worker import Examiner, Picture
from service.records.retention import DAY, RetentionClock
from service.records.store import Store
from service.records.writer import Limits, find_span, prune, write

log = logging.getLogger(__name__)

MAX_ROWS = 20_000
"""Most decisions that wait to be written: some 20 MB. Further ones are dropped."""

MAX_PICTURES = 4_000
"""Most pictures that wait to be written: some 60 MB. Of further decisions there is none."""

FLUSH_SECONDS = 0.25
EXAMINE_SECONDS = 0.5
"""How long a decision waits for the hash of its image. With the above, what a killed process takes along."""

PRUNE_SECONDS = 300.0
_RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0)


class Recorder:
    """Owns the thread that writes, and the one that examines. `record` is for the event loop.

    While the store takes nothing, decisions wait, and beyond `max_rows` are dropped; no answer waits or fails.

    Args:
        store: where to.
        metrics: is told of everything.
        limits: what is kept, and for how long.
        max_pixels: most pixels that are decoded.
        budget: where an image waits until there is memory to decode it.
        is_busy: whether images wait to be decoded.
        max_rows: most decisions that wait.
        max_pictures: most pictures that wait.
        prune_seconds: how often what is too old or too much is deleted.
        retention: what time ages are reckoned by.
    """

    def __init__(
        self,
        store: Store,
        metrics: RecordMetrics,
        *,
        limits: Limits,
        max_pixels: int,
        budget: Budget | None = None,
        is_busy: Callable[[], bool] = lambda: False,
        max_rows: int = MAX_ROWS,
        max_pictures: int = MAX_PICTURES,
        prune_seconds: float = PRUNE_SECONDS,
        retention: RetentionClock | None = None,
    ) -> None:
        self.store = store
        self._metrics = metrics
        self._limits = limits
        self._max_rows = max_rows
        self._max_pictures = max_pictures
        self._prune_seconds = prune_seconds
        self._next_prune = float("-inf")
        self._retention = retention or RetentionClock(limits.max_days * DAY)
        self._rows: deque[Entry] = deque()
        self._pictures: deque[tuple[Entry, Picture]] = deque()
        self._writing: tuple[Sequence[Entry], Sequence[Picture]] = ((), ())
        self._examiner = Examiner(self._keep, metrics, max_pixels=max_pixels, budget=budget, is_busy=is_busy)
        self._ended = threading.Event()
        self._is_failing = self._is_behind = False
        metrics.watch(lambda: self.queued)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Start the threads."""
        self._examiner.start()
        self._thread.start()

    @property
    def queued(self) -> int:
        """Decisions that are not written yet."""
        return len(self._rows) + len(self._writing[0])

    @property
    def is_failing(self) -> bool:
        """Whether the store took nothing the last time."""
        return self._is_failing

    def record(self, entry: Entry, source: Source) -> None:
        """Write it down some time, and keep a small picture of what people may want to see. Returns at once."""
        if self.queued >= self._max_rows:
            self._metrics.observe_rows("dropped")
            return
        self._rows.append(entry)
        self._examiner.submit(entry, source)

    def close(self, *, timeout: float = 5.0) -> None:
        """Write what waits, for so many seconds at most; what is left then is counted as dropped."""
        deadline = time.monotonic() + timeout
        self._examiner.close(timeout=timeout / 2)
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if left := self.queued:
            self._metrics.observe_rows("dropped", left)
            log.error("%d decisions could not be recorded before the end", left)
        self.store.close()

    def _keep(self, entry: Entry, picture: Picture) -> None:
        if len(self._pictures) + len(self._writing[1]) < self._max_pictures:
            self._pictures.append((entry, picture))
        else:
            self._metrics.observe_images("dropped")

    def _run(self) -> None:
        attempts = 0
        while not (self._ended.wait(self._pause(attempts)) and not self._take()):
            attempts = 0 if self._work() else attempts + 1
            if self._ended.is_set() and attempts:
                return

    def _work(self) -> bool:
        """Write and delete what is due; whether the store took it."""
        try:
            if not self._retention.is_begun:  # Before the first decision of this process is written.
                self._retention.begin(find_span(self.store))
            self._write()
            self._prune()
        except RecordsUnavailable as error:
            self._fail(error.detail)
            return False
        except Exception:
            # The thread must not end by it: nothing would be recorded from then on, and nobody would know.
            log.exception("unexpected fault: some decisions are not recorded")
            self._metrics.observe_rows("dropped", len(self._writing[0]))
            self._metrics.observe_images("dropped", len(self._writing[1]))
            self._writing = ((), ())
            self._fail("an unexpected fault")
            return False
        self._recover()
        return True

    @staticmethod
    def _pause(attempts: int) -> float:
        return _RETRY_SECONDS[min(attempts, len(_RETRY_SECONDS)) - 1] if attempts else FLUSH_SECONDS

    def _take(self) -> bool:
        """Take what has come, unless something is still to be written; whether there is anything."""
        if not any(self._writing):
            rows = list(self._take_rows(time.monotonic() - EXAMINE_SECONDS))
            self._writing = (rows, list(self._take_pictures()))
        return any(self._writing)

    def _take_pictures(self) -> Iterator[Picture]:
        """Those whose row is taken. The others wait for theirs, which another before it may hold up."""
        for _ in range(len(self._pictures)):
            entry, picture = self._pictures.popleft()
            if entry.is_written:
                yield picture
            else:
                self._pictures.append((entry, picture))

    def _take_rows(self, patience: float) -> Iterator[Entry]:
        while self._rows and (self._ended.is_set() or self._rows[0].is_examined or self._rows[0].taken < patience):
            entry = self._rows.popleft()
            entry.is_written = True
            yield entry

    def _write(self) -> None:
        if not self._take():
            return
        rows, pictures = self._writing
        started = time.monotonic()
        faulty = write(self.store, [entry.row() for entry in rows], pictures)
        self._metrics.observe_write(time.monotonic() - started)
        self._metrics.observe_rows("dropped", faulty)
        self._metrics.observe_rows("written", len(rows) - faulty)
        self._metrics.observe_images("written", len(pictures))
        self._writing = ((), ())

    def _prune(self) -> None:
        """Delete what is too old or too much, a part at a time: where there is more, the next comes soon."""
        if time.monotonic() < self._next_prune:
            return
        now, was_behind = self._retention.now(), self._is_behind
        self._is_behind = self._retention.is_behind
        self._metrics.observe_clock(is_ahead=self._is_behind)
        if self._is_behind and not was_behind:
            log.warning("the clock is far ahead of the records: old ones are deleted by and by, not at once")
        if not prune(self.store, self._limits, now=now):
            self._next_prune = time.monotonic() + self._prune_seconds

    def _fail(self, detail: str) -> None:
        self._metrics.observe_failure()
        if not self._is_failing:
            self._is_failing = True
            log.error("decisions wait to be recorded: %s", detail)

    def _recover(self) -> None:
        if self._is_failing:
            self._is_failing = False
            self._metrics.observe_recovery()
            log.warning("decisions are recorded again")


def is_drawn(decision: Decision, draw: float, ratio: float) -> bool:
    """Whether this image is one of the audit sample, of the accepted ones; `draw` is uniform in [0, 1)."""
    return decision.action is Action.ACCEPT and draw < ratio
