"""Look for a broken source in the background, so that a scrape never waits for the database."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from common.source_report import find_broken
from service.concurrency.periodic import Repeated
from service.metrics.sources import SourceMetrics
from service.records.failing_reads import FailingReads
from service.records.store import Store
from service.review.served_version import ServedVersion
from service.review.sources import SourceQuery, read_cells

LOOK_SECONDS = 60.0
WINDOW = timedelta(hours=1)

NEWEST = 400
"""Images of each source that a look compares: older ones would hide that a source has become worse."""

_SOURCES = 100
_END_SECONDS = 1.0
_FAULT = "the sources cannot be compared"


class SourceWatch(Repeated):
    """Looks while its `async with` block lasts. A failing store leaves the latest values.

    Args:
        store: source of the counts; without one no source is shown as broken.
        metrics: shows the broken sources.
        served: returns the served version.
    """

    def __init__(self, store: Store | None, metrics: SourceMetrics, *, served: Callable[[], ServedVersion]) -> None:
        # At once, so that a worker that was started again does not show a broken source as sound for a minute.
        super().__init__(seconds=LOOK_SECONDS, fault=_FAULT, at_once=True, end_timeout=_END_SECONDS)
        self._reads = FailingReads(_FAULT)
        self._store = store
        self._metrics = metrics
        self._served = served

    async def turn(self) -> None:
        """Look once."""
        if self._store is None:
            return
        query = SourceQuery(since=datetime.now(UTC) - WINDOW, newest=NEWEST, limit=_SOURCES)
        with self._reads.tolerated():
            broken = await asyncio.to_thread(_look, self._store, query, self._served())
            self._metrics.show_broken(broken)


def _look(store: Store, query: SourceQuery, served: ServedVersion) -> set[str | None]:
    return find_broken(read_cells(store, query, served).counts, limit=query.limit)
