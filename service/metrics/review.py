"""What is measured of the review, and how it gets from the store to the metrics without a scrape that waits for it."""

import asyncio
import contextlib
import math
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.errors import RecordsUnavailable
from service.periodic import Repeated
from service.records.store import Store
from service.records.verdict import Verdict
from service.review.audit import Audit, Served, read_audit
from service.review.progress import Waiting, read_waiting

REFRESH_SECONDS = 10.0
_END_SECONDS = 1.0


class ReviewMetrics:
    """The instruments. Every process that shares a store shows the same, but for the verdicts given through itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._queue = Gauge(
            "lensgate_review_queue_images",
            "Images without a verdict, by why they are asked about",
            ["kind"],
            registry=registry,
        )
        for kind in ("discarded", "audit"):
            self._queue.labels(kind)
        self._verdicts = Counter(
            "lensgate_verdicts", "Verdicts given through this process", ["verdict"], registry=registry
        )
        for verdict in Verdict:
            self._verdicts.labels(verdict)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"lensgate_{name}", text, registry=registry)

        self._images = gauge("audit_images", "Audited images of the served version that show glasses or show none")
        self._errors = gauge("audit_errors", "Of these, those that the model labelled otherwise")
        self._ratio = gauge("audit_error_ratio", "The share of these errors")
        self._lower = gauge("audit_error_lower", "Lower end of its exact 95 % interval")
        self._upper = gauge("audit_error_upper", "Upper end of its exact 95 % interval")
        self._certified = gauge("certified_risk", "Share of errors that the served model's card promises not to pass")
        for unknown in (self._ratio, self._lower, self._upper, self._certified):
            unknown.set(math.nan)

    def observe_verdict(self, verdict: Verdict) -> None:
        """Count one that was given, or changed."""
        self._verdicts.labels(verdict).inc()

    def update(self, waiting: Waiting, audit: Audit) -> None:
        """Show what was counted."""
        self._queue.labels("discarded").set(waiting.discarded)
        self._queue.labels("audit").set(waiting.audit)
        self._images.set(audit.images)
        self._errors.set(audit.errors)
        self._ratio.set(_number(audit.error_ratio))
        self._lower.set(_number(audit.error_lower))
        self._upper.set(_number(audit.error_upper))

    def promise(self, served: Served) -> None:
        """Show what the served model's card promises."""
        self._certified.set(_number(served.certified_risk))


class ReviewWatch(Repeated):
    """Counts, in a thread, for as long as its `async with` block lasts. What a failing store said last stays.

    Args:
        store: what is counted; where there is none, only the promise is shown.
        metrics: is told of it.
        served: what decides at present.
        seconds: between two counts.
    """

    def __init__(
        self,
        store: Store | None,
        metrics: ReviewMetrics,
        *,
        served: Callable[[], Served],
        seconds: float = REFRESH_SECONDS,
    ) -> None:
        # A count that is under way gives its connection back; one that hangs is not waited for.
        super().__init__(seconds=seconds, fault="the review cannot be counted", at_once=True, patience=_END_SECONDS)
        self._store = store
        self._metrics = metrics
        self._served = served

    async def turn(self) -> None:
        """Count once."""
        served = self._served()
        self._metrics.promise(served)
        if self._store is not None:
            with contextlib.suppress(RecordsUnavailable):  # The recorder says so.
                self._metrics.update(*await asyncio.to_thread(_count, self._store, served))


def _count(store: Store, served: Served) -> tuple[Waiting, Audit]:
    with store.begin() as connection:
        return read_waiting(connection), read_audit(connection, served)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
