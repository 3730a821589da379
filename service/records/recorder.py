"""Takes decisions from the event loop and writes them in batches in the background."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gate import Budget
from service.errors import RecordsUnavailable
from service.inference.preprocess import Source
from service.metrics.records import RecordMetrics
from service.records.decision_record import DecisionRecord
from service.records.differences import Differences
from service.records.failures import FailureLog
from service.records.preview_worker import Preview, PreviewWorker
from service.records.retention import DAY, RetentionClock
from service.records.store import Store
from service.records.writer import Limits, find_span, prune, server_clock, write

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.25
HASH_SECONDS = 0.5
"""How long a decision waits for the hash of its image. A killed process loses the decisions of both periods."""

_MAX_CAUSES = 10  # Lines in the log for one outage.


@dataclass(frozen=True, slots=True)
class Buffering:
    """What waits unwritten in all workers together, and when the store is worked on; further records are dropped.

    Args:
        max_rows: limit for queued decisions, about 20 MB.
        max_previews: limit for queued previews, about 60 MB.
        prune_seconds: interval between deletions of old records.
        retry_seconds: pauses between the attempts to write; the last one repeats.
    """

    max_rows: int = 20_000
    max_previews: int = 4_000
    prune_seconds: float = 300.0
    retry_seconds: Sequence[float] = (0.5, 1.0, 2.0, 5.0)


_BUFFERING = Buffering()


class Recorder:
    """Owns the writer thread and the preview worker. Call `record` from the event loop.

    While the store fails, decisions are queued; beyond the limit they are dropped. Responses never wait for the store.

    Args:
        store: destination of the records.
        metrics: receives the results.
        limits: size and age limits of the store.
        max_pixels: limit for decoding, in pixels.
        budget: limits the memory of concurrent decodes.
        is_busy: whether images wait to be decoded.
        share: this worker's part of a limit of all workers.
        prunes: whether this worker deletes old records; one of them does.
        buffering: limits of the queue and times of the writer.
        retention: clock for the age of records.
        differences: drawn images about which the shadow differs, written after their decisions.
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
        share: Callable[[int], int] = lambda total: total,
        prunes: bool = True,
        buffering: Buffering = _BUFFERING,
        retention: RetentionClock | None = None,
        differences: Differences | None = None,
    ) -> None:
        self.store = store
        self._metrics = metrics
        self._limits = limits
        self._max_rows = share(buffering.max_rows)
        self._max_previews = share(buffering.max_previews)
        self._prunes = prunes
        self._prune_seconds = buffering.prune_seconds
        self._retry_seconds = buffering.retry_seconds
        self._next_prune = float("-inf")
        self._retention = retention or RetentionClock(limits.max_days * DAY)
        self._differences = differences
        self.failures = FailureLog()
        self._rows: deque[DecisionRecord] = deque()
        self._previews: deque[tuple[DecisionRecord, Preview]] = deque()
        self._writing: tuple[Sequence[DecisionRecord], Sequence[Preview]] = ((), ())
        self._preview_worker = PreviewWorker(
            self._keep, metrics, max_pixels=max_pixels, budget=budget, is_busy=is_busy, share=share
        )
        self._ended = threading.Event()
        self._causes: set[str] = set()
        self._is_behind = False
        metrics.watch(lambda: self.queued)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Start the threads."""
        self._preview_worker.start()
        self._thread.start()

    @property
    def queued(self) -> int:
        """Number of unwritten decisions."""
        return len(self._rows) + len(self._writing[0])

    @property
    def is_failing(self) -> bool:
        """Whether the last write failed."""
        return bool(self._causes)

    def record(self, record: DecisionRecord, source: Source) -> None:
        """Queue the decision, and its image for a hash and a preview. Returns at once."""
        if self.queued >= self._max_rows:
            self._metrics.observe_rows("dropped")
            return
        self._rows.append(record)
        self._preview_worker.submit(record, source)

    def close(self, *, timeout: float = 5.0) -> None:
        """Write the queue within `timeout` seconds; the rest counts as dropped."""
        deadline = time.monotonic() + timeout
        self._preview_worker.close(timeout=timeout / 2)
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if left := self.queued:
            self._metrics.observe_rows("dropped", left)
            log.error("%d decisions were dropped at shutdown", left)
        self.store.close()

    def _keep(self, record: DecisionRecord, preview: Preview) -> None:
        if len(self._previews) + len(self._writing[1]) < self._max_previews:
            self._previews.append((record, preview))
        else:
            self._metrics.observe_images("dropped")

    def _run(self) -> None:
        attempts = 0
        while not (self._ended.wait(self._pause(attempts)) and not self._take()):
            attempts = 0 if self._work() else attempts + 1
            if self._ended.is_set() and attempts:
                return
        if self.failures.is_waiting or (self._differences is not None and self._differences.is_waiting):
            self._work()

    def _work(self) -> bool:
        """Write and prune; return whether the store accepted it."""
        try:
            if not self._retention.is_begun:  # Before the first decision of this process is written.
                self._retention.begin(find_span(self.store))
            self._write()
            if self._differences is not None:
                self._differences.write(self.store)
            self.failures.write(self.store)
            self._prune()
        except RecordsUnavailable as error:
            self._fail(error.detail)
            return False
        except Exception:
            # Keep the thread alive: without it all later records would be lost silently.
            log.exception("unexpected fault: some decisions were dropped")
            self._metrics.observe_rows("dropped", len(self._writing[0]))
            self._metrics.observe_images("dropped", len(self._writing[1]))
            self._writing = ((), ())
            self._fail("an unexpected fault")
            return False
        self._recover()
        return True

    def _pause(self, attempts: int) -> float:
        return self._retry_seconds[min(attempts, len(self._retry_seconds)) - 1] if attempts else FLUSH_SECONDS

    def _take(self) -> bool:
        """Take the next batch unless the last one is unwritten; return whether there is one."""
        if not any(self._writing):
            rows = list(self._take_rows(time.monotonic() - HASH_SECONDS))
            self._writing = (rows, list(self._take_previews()))
        return any(self._writing)

    def _take_previews(self) -> Iterator[Preview]:
        """Take the previews whose row is taken; the others wait for their row."""
        for _ in range(len(self._previews)):
            record, preview = self._previews.popleft()
            if record.is_written:
                yield preview
            else:
                self._previews.append((record, preview))

    def _take_rows(self, taken_before: float) -> Iterator[DecisionRecord]:
        while self._rows and (self._ended.is_set() or self._rows[0].is_processed or self._rows[0].taken < taken_before):
            record = self._rows.popleft()
            record.is_written = True
            yield record

    def _write(self) -> None:
        if not self._take():
            return
        rows, previews = self._writing
        started = time.monotonic()
        faulty = write(self.store, [record.row() for record in rows], previews)
        self._metrics.observe_write(time.monotonic() - started)
        self._metrics.observe_rows("dropped", faulty)
        self._metrics.observe_rows("written", len(rows) - faulty)
        self._metrics.observe_images("written", len(previews))
        self._writing = ((), ())

    def _prune(self) -> None:
        """Delete one portion of records beyond the limits; continue soon if there are more."""
        if not self._prunes or time.monotonic() < self._next_prune:
            return
        now, was_behind = self._retention.now(), self._is_behind
        self._is_behind = self._retention.is_behind
        self._metrics.observe_clock(is_ahead=self._is_behind)
        if self._is_behind and not was_behind:
            log.warning("the clock is far ahead of the records: old ones are deleted gradually")
        # A replica whose clock is slow must not delete what the others have just made.
        clock = max(self._retention.clock, server_clock(self.store))
        if not prune(self.store, self._limits, now=now, clock=clock):
            self._next_prune = time.monotonic() + self._prune_seconds
            self.store.shorten_log()

    def _fail(self, detail: str) -> None:
        self._metrics.observe_failure()
        # The first cause may be a consequence of a later one, such as a store that another thread still opens.
        if detail not in self._causes and len(self._causes) < _MAX_CAUSES:
            self._causes.add(detail)
            log.error("decisions cannot be recorded and are queued: %s", detail)

    def _recover(self) -> None:
        if self._causes:
            self._causes.clear()
            self._metrics.observe_recovery()
            log.warning("decisions are recorded again")
