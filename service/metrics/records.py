"""Metrics of the decision recorder."""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram

from service.metrics.instruments import counter_by
from service.metrics.merging import make_gauge

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

RecordResult = Literal["written", "dropped"]


class RecordMetrics:
    """The metrics of one recorder; all series stay at 0 while records are off. Thread-safe."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(counter_by, "result", get_args(RecordResult), registry=registry)
        self._rows = counter(name="lensgate_records", text="Decisions recorded")
        self._images = counter(name="lensgate_record_images", text="Previews for the review")
        self._hashes = counter(name="lensgate_record_hashes", text="Images hashed for their record")
        self._failures = Counter("lensgate_record_failures", "Failed attempts to write", registry=registry)
        self._failing = make_gauge(
            "records_failing", "1 while the store is not writable", merge="max", registry=registry
        )
        self._clock_ahead = make_gauge(
            "records_clock_ahead",
            "1 while the clock is far ahead of the records, so that old ones are deleted in steps",
            merge="max",
            registry=registry,
        )
        self._queued = make_gauge("queued_records", "Decisions waiting to be written", merge="sum", registry=registry)
        self._seconds = Histogram(
            "lensgate_record_write_seconds", "Time of one transaction", buckets=_SECONDS, registry=registry
        )

    def watch(self, queued: Callable[[], int]) -> None:
        """Read the length of the queue at each scrape."""
        self._queued.set_function(queued)

    def observe_rows(self, result: RecordResult, count: int = 1) -> None:
        """Count decisions by result."""
        self._rows.add((result,), count)

    def observe_images(self, result: RecordResult, count: int = 1) -> None:
        """Count previews by result."""
        self._images.add((result,), count)

    def observe_hash(self, result: RecordResult) -> None:
        """Count one image, hashed or not."""
        self._hashes.add((result,))

    def observe_write(self, seconds: float) -> None:
        """Time one successful transaction."""
        self._seconds.observe(seconds)

    def observe_failure(self) -> None:
        """Count one failed transaction."""
        self._failures.inc()
        self._failing.set(1)

    def observe_clock(self, *, is_ahead: bool) -> None:
        """Report whether the clock is far ahead of the records."""
        self._clock_ahead.set(is_ahead)

    def observe_recovery(self) -> None:
        """Report that the store is writable again."""
        self._failing.set(0)
