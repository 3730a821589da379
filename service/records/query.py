"""Query the decisions: filters, and pages from newest to oldest."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from sqlalchemy import ColumnElement, Connection, Select, select

from gate import Action, Label, Reason
from gate.card import Probability
from gate.validation import is_number
from service.errors import NotFound
from service.http.json_body import KnownMembers
from service.ids import least_id
from service.records.serialization import COLUMNS, RECORD_TABLES, read_record
from service.records.store import Store
from service.records.tables import Verdict, decisions, images, storable_text, verdicts

DEFAULT_LIMIT = 100
PAGE = 1_000
"""Number of records read in one transaction."""

RECORD_PATTERN = "[0-9A-HJKMNP-TV-Z]{26}"
RecordId = Annotated[str, Field(pattern=f"^{RECORD_PATTERN}$")]


def _no_number(value: object) -> object:
    if is_number(value):
        raise ValueError("must be a time such as 2026-11-30T12:00:00Z, or a day such as 2026-11-30, not a number")
    return value


Time = Annotated[datetime, BeforeValidator(_no_number)]
"""A time of a query, by RFC 3339; a day means its first moment."""


class Filters(KnownMembers):
    """Filters of a query; omitted ones match every decision."""

    model_config = ConfigDict(frozen=True)

    decision: Action | None = Field(None, description="The decision")
    reason: Reason | None = Field(None, description="The reason of the decision")
    label: Label | None = Field(None, description="The label of the model")
    expected: Label | None = Field(None, description="The label that the generator was asked for")
    verdict: Verdict | None = Field(None, description="The verdict of a reviewer")
    version: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, description="The version of the model"
    )
    id: Annotated[str, Field(min_length=1, max_length=160)] | None = Field(
        None, description="The caller's name of the image"
    )
    source: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        None, description="The generator, checkpoint or run that made the image"
    )
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        None, description="SHA-256 of the image's bytes"
    )
    audit: bool | None = Field(None, description="Whether the image is in the audit sample")
    since: Time | None = Field(None, description="From this time on; UTC without a time zone")
    until: Time | None = Field(None, description="Before this time; UTC without a time zone")
    min_probability: Probability | None = Field(None, description="Lowest probability of glasses")
    max_probability: Probability | None = Field(None, description="Highest probability of glasses")

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Self:
        if _is_above(self.min_probability, self.max_probability):
            raise ValueError("min_probability must not exceed max_probability")
        if self.since and self.until and utc(self.since) > utc(self.until):
            raise ValueError("since must not be after until")
        return self

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Yield the filters as SQL conditions."""
        columns = decisions.c
        for name in ("decision", "reason", "label", "expected", "version", "id", "source", "sha256", "audit"):
            if (value := getattr(self, name)) is not None:
                yield columns[name] == (storable_text(value) if isinstance(value, str) else value)
        if self.verdict is not None:
            yield verdicts.c.verdict == self.verdict
        if self.since is not None:
            since = _microseconds(self.since)
            yield columns.time >= since
            yield columns.record >= _first_record(since - _SLACK)
        if self.until is not None:
            until = _microseconds(self.until)
            yield columns.time < until
            yield columns.record < _first_record(until + _SLACK)
        if self.min_probability is not None:
            yield columns.probability >= self.min_probability
        if self.max_probability is not None:
            yield columns.probability <= self.max_probability


class Page(Filters):
    """Filters, page and output format of a query."""

    limit: int | None = Field(
        None, ge=1, description=f"Maximum number of decisions: up to {PAGE:,} in JSON, 100 by default"
    )
    cursor: RecordId | None = Field(None, description="`next` of the previous page")
    format: Literal["json", "csv", "ndjson"] | None = Field(None, description="Overrides Accept; json by default")


_NEWEST = decisions.c.record.desc()
_SLACK = 60 * 10**6  # A record's ULID precedes its time by a moment, in which the clock may be set.


def find_page(store: Store, page: Page) -> tuple[list[dict[str, Any]], str | None]:
    """Return the newest decisions after the cursor, and the cursor of the next page, if any.

    Raises:
        RecordsUnavailable: the store is unreadable.
    """
    limit = page.limit or DEFAULT_LIMIT
    with store.begin() as connection:
        rows = _read(connection, page, after=page.cursor, limit=limit + 1)
    shown = rows[:limit]
    return shown, shown[-1]["record"] if len(rows) > limit else None


def find_all(store: Store, page: Page) -> Iterator[list[dict[str, Any]]]:
    """Yield all decisions after the cursor in pages, newest first, in bounded memory.

    Raises:
        RecordsUnavailable: the store is unreadable.
    """
    after, left = page.cursor, page.limit or sys.maxsize
    while left:
        with store.begin() as connection:
            rows = _read(connection, page, after=after, limit=min(PAGE, left))
        yield rows
        left -= len(rows)
        if len(rows) < PAGE:
            return
        after = rows[-1]["record"]


def find_one(store: Store, name: str) -> dict[str, Any]:
    """Return the decision with this `record`, or the newest with this `id`.

    Raises:
        NotFound: no such decision.
        RecordsUnavailable: the store is unreadable.
    """
    query, name = select(*COLUMNS).select_from(RECORD_TABLES).order_by(_NEWEST).limit(1), storable_text(name)
    with store.begin() as connection:
        # Two queries, so that each uses its index; a million decisions may share one `id`.
        row = (
            connection.execute(query.where(decisions.c.record == name)).one_or_none()
            or connection.execute(query.where(decisions.c.id == name)).one_or_none()
        )
    if row is None:
        raise NotFound("no decision with this record or id: deleted, or not written yet")
    return read_record(row)


def find_image(store: Store, record: str) -> bytes:
    """Return the preview of a record, a JPEG.

    Raises:
        NotFound: no preview.
        RecordsUnavailable: the store is unreadable.
    """
    with store.begin() as connection:
        jpeg = connection.scalar(select(images.c.jpeg).where(images.c.record == storable_text(record)))
    if jpeg is None:
        raise NotFound("no preview of this record: only discarded and audited images have one, for a limited time")
    return bytes(jpeg)


def _read(connection: Connection, filters: Filters, *, after: str | None, limit: int) -> list[dict[str, Any]]:
    query: Select[Any] = select(*COLUMNS).select_from(RECORD_TABLES).where(*filters.conditions())
    if after is not None:
        query = query.where(decisions.c.record < after)
    return [read_record(row) for row in connection.execute(query.order_by(_NEWEST).limit(limit)).all()]


def _is_above(low: float | None, high: float | None) -> bool:
    return low is not None and high is not None and low > high


def utc(time: datetime) -> datetime:
    """Return a time with its zone, UTC if it has none."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _first_record(microseconds: int) -> str:
    """Return the least ULID of that time, so that a range query reads only its own records."""
    return least_id(microseconds // 1000)


def _microseconds(time: datetime) -> int:
    return round(utc(time).timestamp() * 1e6)


NO_FILTERS = Filters()
