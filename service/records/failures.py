"""Failed requests: counted by code in short steps, with a few examples of each, and written in the background."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, delete, func, select

from service.http.failed_request import FailedRequest
from service.ids import new_id
from service.records.query import RecordId
from service.records.serialization import show_time
from service.records.store import Store, insert_into
from service.records.tables import STEP_SECONDS, failed_requests, failures, storable_text

EXAMPLES_PER_STEP = 3
"""Most examples of one code in one step, and one of each batch without any: a flood must not fill the store."""

EXAMPLES_KEPT = 200
"""Most examples of one code in the store."""

_MAX_WAITING = 2_000
_STEP = STEP_SECONDS * 10**6


class FailureLog:
    """Collects failed requests until `write`. Thread-safe; both counts and examples are bounded.

    Args:
        clock: clock in seconds since 1970.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[tuple[int, str]] = Counter()
        self._examples: deque[dict[str, Any]] = deque(maxlen=_MAX_WAITING)
        # Taken by `write`, and kept unchanged until the store has confirmed it.
        self._writing: tuple[Mapping[tuple[int, str], int], Sequence[dict[str, Any]]] | None = None
        self._kept: dict[str, tuple[int, int]] = {}

    def observe(self, failed: FailedRequest) -> None:
        """Count it, and keep it as an example if its step has few. Returns at once."""
        now = round(self._clock() * 1e6)
        step = now - now % _STEP
        with self._lock:
            if (step, failed.code) in self._counts or len(self._counts) < _MAX_WAITING:
                self._counts[step, failed.code] += 1
            last, count = self._kept.get(failed.code, (step, 0))
            count = count + 1 if last == step else 1
            self._kept[failed.code] = (step, count)
            # Each batch has an example, by which a retry recognizes that the batch was written.
            if count <= EXAMPLES_PER_STEP or not self._examples:
                self._examples.append(_row(failed, now))

    @property
    def is_waiting(self) -> bool:
        """Whether some are not written."""
        with self._lock:
            return bool(self._counts) or self._writing is not None

    def write(self, store: Store) -> None:
        """Write all that was collected; it stays here if that fails. Idempotent: the response to a commit may be lost.

        Raises:
            RecordsUnavailable: the database is unavailable.
        """
        with self._lock:
            if self._writing is None and self._counts:
                self._writing = self._counts.copy(), list(self._examples)
                self._counts.clear()
                self._examples.clear()
        if self._writing is None:
            return
        counts, examples = self._writing
        with store.begin_writing() as connection:
            if _insert_examples(connection, examples):
                _add_counts(connection, counts)
        self._writing = None


class FailureFilters(BaseModel):
    """Filters and page of the examples; omitted filters match every one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(None, description="The error code")
    id: Annotated[str, Field(min_length=1, max_length=160)] | None = Field(
        None, description="The caller's name of the image"
    )
    request_id: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        None, description="`request_id` of the log line"
    )
    limit: int = Field(20, ge=1, le=EXAMPLES_KEPT, description="Maximum number of examples")
    cursor: RecordId | None = Field(None, description="`next` of the previous page")


class Failure(BaseModel):
    """An example of a failed request; its log line has the same `request_id`."""

    record: str
    time: datetime
    status: int | None = Field(description="Of the answer; null for one image of an upload")
    code: str
    detail: str
    path: str
    request_id: str
    id: str | None
    source: str | None
    token: str | None = Field(description="Name of the token")


class FailurePage(BaseModel):
    """A page of examples, newest first; `next` is the cursor of the next page."""

    failures: list[Failure]
    next: str | None


def find_failures(store: Store, filters: FailureFilters) -> tuple[list[dict[str, Any]], str | None]:
    """Return the newest examples after the cursor, and the cursor of the next page, if any.

    Raises:
        RecordsUnavailable: the store is unreadable.
    """
    columns = failed_requests.c
    query = select(failed_requests)
    for name in ("code", "id", "request_id"):
        if (value := getattr(filters, name)) is not None:
            query = query.where(columns[name] == storable_text(value))
    if filters.cursor is not None:
        query = query.where(columns.record < filters.cursor)
    with store.begin() as connection:
        rows = connection.execute(query.order_by(columns.record.desc()).limit(filters.limit + 1)).mappings().all()
    shown = [
        {name: row[name] for name in Failure.model_fields} | {"time": show_time(row["time"])}
        for row in rows[: filters.limit]
    ]
    return shown, shown[-1]["record"] if len(rows) > filters.limit else None


def prune_failures(connection: Connection, *, ahead: str) -> None:
    """Delete all but the newest examples of each code; those from the record `ahead` on are the oldest."""
    columns = failed_requests.c
    for code in connection.scalars(select(columns.code).distinct()).all():
        newest = select(columns.record).where(columns.code == code)
        newest = newest.order_by(columns.record >= ahead, columns.record.desc())
        # One statement: an example that another replica writes meanwhile is not in its snapshot, and stays.
        connection.execute(delete(failed_requests).where(columns.record.in_(newest.offset(EXAMPLES_KEPT))))


def read_failures(connection: Connection, *, since: int, width: int) -> Iterator[tuple[int, str, int]]:
    """Yield the number of failures by bucket and code: buckets of `width` microseconds, counted since 1970."""
    bucket = (failures.c.step // width).label("bucket")
    total = func.sum(failures.c.images)
    query = select(bucket, failures.c.code, total).where(failures.c.step >= since)
    for row in connection.execute(query.group_by(bucket, failures.c.code)):
        yield int(row[0]), row[1], int(row[2])


def _insert_examples(connection: Connection, examples: Sequence[Mapping[str, Any]]) -> bool:
    """Insert a batch of examples; return False if it is in the store already."""
    new = insert_into(connection, failed_requests).on_conflict_do_nothing().returning(failed_requests.c.record)
    return connection.execute(new, list(examples)).first() is not None


def _add_counts(connection: Connection, counts: Mapping[tuple[int, str], int]) -> None:
    rows = [{"step": step, "code": code, "images": count} for (step, code), count in counts.items()]
    new = insert_into(connection, failures)
    more = failures.c.images + new.excluded.images
    connection.execute(new.on_conflict_do_update(index_elements=["step", "code"], set_={"images": more}), rows)


def _row(failed: FailedRequest, now: int) -> dict[str, Any]:
    def text(value: str | None, length: int) -> str | None:
        return storable_text(value)[:length] if value else None

    return {
        "record": new_id(),
        "time": now,
        "status": failed.status,
        "code": failed.code[:64],
        "detail": text(failed.detail, 500) or "",
        "path": text(failed.path, 256) or "",
        "request_id": failed.request_id[:128],
        "id": text(failed.identity, 160),
        "source": text(failed.source, 128),
        "token": failed.token and failed.token[:64],
    }
