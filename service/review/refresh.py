"""Refresh the review metrics from the store in the background, so that a scrape never waits for the database."""

import asyncio
from collections.abc import Callable

from service.concurrency.periodic import Repeated
from service.records.failing_reads import FailingReads
from service.records.store import Store
from service.review.audit import Audit, read_audit
from service.review.metrics import ReviewMetrics
from service.review.progress import Waiting, read_waiting
from service.review.second_reading import Agreement, read_agreement
from service.review.served_version import ServedVersion

REFRESH_SECONDS = 10.0
_END_SECONDS = 1.0
_FAULT = "the review metrics cannot be refreshed"


class ReviewRefresh(Repeated):
    """Counts in a worker thread while its `async with` block lasts. A failing store leaves the latest values.

    Args:
        store: source of the counts; without one only the certified risk is exported.
        metrics: receives the counts.
        served: returns the served version.
        seconds: interval between two refreshes.
    """

    def __init__(
        self,
        store: Store | None,
        metrics: ReviewMetrics,
        *,
        served: Callable[[], ServedVersion],
        seconds: float = REFRESH_SECONDS,
    ) -> None:
        # A running count can return its connection within this time; a hanging one is abandoned.
        super().__init__(seconds=seconds, fault=_FAULT, at_once=True, end_timeout=_END_SECONDS)
        self._reads = FailingReads(_FAULT)
        self._store = store
        self._metrics = metrics
        self._served = served

    async def turn(self) -> None:
        """Refresh once."""
        served = self._served()
        self._metrics.update_certificate(served)
        if self._store is not None:
            with self._reads.tolerated():
                self._metrics.update(*await asyncio.to_thread(_count, self._store, served))


def _count(store: Store, served: ServedVersion) -> tuple[Waiting, Audit, Agreement]:
    with store.begin() as connection:
        return read_waiting(connection), read_audit(connection, served), read_agreement(connection, served)
