"""What is measured of the record of decisions."""

from collections.abc import Callable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

Result = Literal["written", "dropped"]


class RecordMetrics:
    """The instruments of one recorder; all 0 where nothing is recorded. Safe in threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rows = Counter("lensgate_records", "Decisions recorded", ["result"], registry=registry)
        self._images = Counter(
            "lensgate_record_images", "Small pictures of what is looked at by people", ["result"], registry=registry
        )
        self._hashes = Counter(
            "lensgate_record_hashes", "Images that were hashed for the record", ["result"], registry=registry
        )
        for result in ("written", "dropped"):
            for counter in (self._rows, self._images, self._hashes):
                counter.labels(result)
        self._failures = Counter("lensgate_record_failures", "Attempts to write that failed", registry=registry)
        self._failing = Gauge("lensgate_records_failing", "1 while the store takes nothing", registry=registry)
        self._clock_ahead = Gauge(
            "lensgate_records_clock_ahead",
            "1 while the clock is far ahead of the records, so that old ones are deleted in steps",
            registry=registry,
        )
        self._queued = Gauge("lensgate_queued_records", "Decisions that wait to be written", registry=registry)
        self._seconds = Histogram(
            "lensgate_record_write_seconds", "One transaction", buckets=_SECONDS, registry=registry
        )

    def watch(self, queued: Callable[[], int]) -> None:
        """Read the depth of the queue where it is kept, at each scrape."""
        self._queued.set_function(queued)

    def observe_rows(self, result: Result, count: int = 1) -> None:
        """Count what became of some decisions."""
        self._rows.labels(result).inc(count)

    def observe_images(self, result: Result, count: int = 1) -> None:
        """Count what became of some pictures."""
        self._images.labels(result).inc(count)

    def observe_hash(self, result: Result) -> None:
        """Count whether one image was hashed."""
        self._hashes.labels(result).inc()

    def observe_write(self, seconds: float) -> None:
        """Time one transaction that ended well."""
        self._seconds.observe(seconds)

    def observe_failure(self) -> None:
        """Count one that did not."""
        self._failures.inc()
        self._failing.set(1)

    def observe_clock(self, *, is_ahead: bool) -> None:
        """The clock was held against the records."""
        self._clock_ahead.set(is_ahead)

    def observe_recovery(self) -> None:
        """The store takes decisions again."""
        self._failing.set(0)
