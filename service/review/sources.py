"""Recorded decisions counted by source, for the report and for its alert."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import ColumnElement, Select, Subquery, case, func, literal, select

from common.source_report import BINS, EDGES, Cell, Comparison, compare_sources
from gate import Label, Reason
from service.records.query import Filters, Time, utc
from service.records.store import Store
from service.records.tables import decisions, storable_text
from service.review.served_version import ServedVersion

MAX_ROWS = 100_000
"""Limit of decisions that one report reads: the newest of its window."""

MAX_WINDOW = timedelta(days=31)
DEFAULT_WINDOW = timedelta(days=1)

_LABELS: Mapping[str | None, Label | None] = {None: None} | {label.value: label for label in Label}
_REASONS: Mapping[str, Reason] = {reason.value: reason for reason in Reason}


class SourceQuery(BaseModel):
    """Window and limits of a report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    since: Time | None = Field(None, description="From this time on, UTC without a time zone; a day before `until`")
    until: Time | None = Field(None, description="Before this time, at most 31 days after `since`; now if missing")
    version: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, description="Version of the model; the served one, with the band in use, if missing"
    )
    newest: int | None = Field(None, ge=1, le=MAX_ROWS, description="Count only this many images of each source")
    limit: int = Field(20, ge=1, le=100, description="Compare and show this many sources: those with the most images")

    @model_validator(mode="after")
    def _window_is_bounded(self) -> Self:
        since, until = self.window(datetime.now(UTC))
        if not timedelta(0) <= until - since <= MAX_WINDOW:
            raise ValueError(f"since must be at most {MAX_WINDOW.days} days before until, and not after it")
        return self

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the first time of the window, and the time at its end."""
        until = utc(self.until) if self.until else now
        if self.since:
            return utc(self.since), until
        return max(until, datetime.min.replace(tzinfo=UTC) + DEFAULT_WINDOW) - DEFAULT_WINDOW, until


class SourceReport(Comparison):
    """Recorded decisions of one version by source."""

    since: datetime = Field(description="The window's first time, or that of the oldest decision read")
    until: datetime
    version: str
    is_complete: bool = Field(description=f"False if the window has {MAX_ROWS:,} decisions or more: the newest count")


def read_sources(store: Store, query: SourceQuery, served: ServedVersion, *, max_rows: int = MAX_ROWS) -> SourceReport:
    """Count recorded decisions by source, and compare the sources.

    Raises:
        RecordsUnavailable: the store is unreadable.
    """
    since, until = query.window(datetime.now(UTC))
    cells = read_cells(store, query, served, max_rows=max_rows)
    if not cells.is_complete:
        since = max(since, cells.oldest)
    return SourceReport(
        **dict(compare_sources(cells.counts, limit=query.limit)),
        since=since,
        until=until,
        version=query.version or served.version,
        is_complete=cells.is_complete,
    )


@dataclass(frozen=True, slots=True)
class Cells:
    """Counted decisions; `oldest` is the time of the first one read."""

    counts: Counter[Cell]
    is_complete: bool
    oldest: datetime


def read_cells(store: Store, query: SourceQuery, served: ServedVersion, *, max_rows: int = MAX_ROWS) -> Cells:
    """Count recorded decisions of a window, the newest `max_rows`.

    Raises:
        RecordsUnavailable: the store is unreadable.
    """
    since, until = query.window(datetime.now(UTC))
    conditions = [*Filters(since=since, until=until).conditions(), *_of_version(query.version, served)]
    counts: Counter[Cell] = Counter()
    with store.begin() as connection:
        rows = connection.execute(_count(_newest(conditions, max_rows), query.newest)).all()
    for source, expected, score_bin, reason, images, _, _ in rows:  # Up to one for each decision.
        counts[Cell(source, _LABELS[expected], score_bin, _REASONS[reason])] = images
    oldest = datetime.fromtimestamp(min(row.oldest for row in rows) / 1e6, UTC) if rows else until
    return Cells(+counts, sum(row.read for row in rows) < max_rows, min(oldest, until))


def _of_version(version: str | None, served: ServedVersion) -> Iterator[ColumnElement[bool]]:
    if version is None:
        yield from served.conditions(decisions)
    else:
        yield decisions.c.version == storable_text(version)


def _newest(conditions: list[ColumnElement[bool]], limit: int) -> Subquery:
    columns = decisions.c
    score_bin = case(
        *((columns.probability < literal(edge), number) for number, edge in enumerate(EDGES)), else_=BINS - 1
    )
    return (
        select(columns.record, columns.time, columns.source, columns.expected, score_bin.label("bin"), columns.reason)
        .where(*conditions)
        .order_by(columns.record.desc())
        .limit(limit)
        .subquery()
    )


def _count(table: Subquery, newest: int | None) -> Select[Any]:
    """Count the images of each cell, only the `newest` of each source if that is given."""
    images: ColumnElement[int] = func.count()
    if newest is not None:
        rank = func.row_number().over(partition_by=table.c.source, order_by=table.c.record.desc())
        table = select(table, rank.label("rank")).subquery()
        images = func.count().filter(table.c.rank <= newest)
    cell = (table.c.source, table.c.expected, table.c.bin, table.c.reason)
    sums = (images.label("images"), func.count().label("read"), func.min(table.c.time).label("oldest"))
    return select(*cell, *sums).group_by(*cell)
