"""What the recorder does to the store: insert, and delete what is too old or too much."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Delete,
    Select,
    Table,
    bindparam,
    delete,
    exists,
    func,
    select,
    update,
)
from sqlalchemy.exc import DataError, IntegrityError

from service.errors import RecordsUnavailable
from service.records.preview_worker import Preview
from service.records.retention import Span
from service.records.store import Store, insert_into
from service.records.tables import decisions, images, lost_audits, verdicts

log = logging.getLogger(__name__)

PRUNE_ROWS = 5_000
"""Most rows that are deleted in one transaction, so that none takes long."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept at most: decisions, days, and bytes of pictures. What has a verdict is kept, and not counted."""

    max_rows: int
    max_days: float
    max_image_bytes: int


def write(store: Store, rows: Sequence[Row], pictures: Sequence[Preview]) -> int:
    """Insert all of it in one transaction; what is there already is left alone. Returns how many rows are at fault.

    Where the database refuses a row for what is in it, that row is left out and the others are written.

    Raises:
        RecordsUnavailable: the database takes nothing; nothing was written.
    """
    if not _is_refused(store, rows, pictures):
        return 0
    refused = [row for row in rows if _is_refused(store, [row], ())]
    gone = {row["record"] for row in refused}
    for picture in pictures:
        if picture.record not in gone:
            _is_refused(store, (), [picture])
    return len(refused)


def find_span(store: Store) -> Span | None:
    """Return the times of the oldest unjudged record and of the newest one; None where there is none.

    Raises:
        RecordsUnavailable: the store cannot be read.
    """
    unjudged = ~exists().where(verdicts.c.record == decisions.c.record)
    with store.begin() as connection:
        oldest = connection.scalar(select(func.min(decisions.c.time)).where(unjudged))
        newest = connection.scalar(select(func.max(decisions.c.time)))
    return None if oldest is None or newest is None else Span(oldest / 1e6, newest / 1e6)


def prune(store: Store, limits: Limits, *, now: float) -> bool:
    """Delete the oldest of what is too much, some thousand at a time; whether there may be more.

    Raises:
        RecordsUnavailable: the database takes nothing.
    """
    with store.begin_alone() as connection:
        oldest = round((now - limits.max_days * 86_400) * 1e6)
        deleted = _delete_decisions(connection, PRUNE_ROWS, before=oldest)
        kept = _count(connection, select(func.count()).select_from(decisions))
        kept -= _count(connection, select(func.count()).select_from(verdicts))
        deleted += _delete_decisions(connection, min(kept - limits.max_rows, PRUNE_ROWS - deleted))
        deleted += _delete_images(connection, limits.max_image_bytes, most=PRUNE_ROWS - deleted)
    return deleted >= PRUNE_ROWS


def _is_refused(store: Store, rows: Sequence[Row], pictures: Sequence[Preview]) -> bool:
    """Whether nothing was inserted, because of what is in it."""
    try:
        with store.begin() as connection:
            _insert(connection, decisions, rows)
            _keep_pictures(connection, pictures)
    except RecordsUnavailable as error:
        # What the database says of a value is no sign that it is away.
        if not isinstance(error.__cause__, DataError | IntegrityError):
            raise
        log.error("a decision cannot be recorded: %s", error.detail)
        return True
    return False


def _keep_pictures(connection: Connection, pictures: Sequence[Preview]) -> None:
    known = _known(connection, [picture.record for picture in pictures])
    kept = [picture for picture in pictures if picture.record in known]
    rows = [{"record": one.record, "bytes": len(one.jpeg), "jpeg": one.jpeg} for one in kept]
    _insert(connection, images, rows)
    if kept:  # The row may have been written before there was a hash.
        late = update(decisions).where(decisions.c.record == bindparam("of")).values(sha256=bindparam("hash"))
        connection.execute(late, [{"of": one.record, "hash": one.sha256} for one in kept])


def _known(connection: Connection, records: Sequence[str]) -> set[str]:
    """Those of the records that are there still: what was deleted for its age needs no picture."""
    return set(connection.scalars(select(decisions.c.record).where(decisions.c.record.in_(records))))


def _insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    if rows:
        # Written twice where the first answer was lost on its way.
        connection.execute(insert_into(connection, table).on_conflict_do_nothing(), list(rows))


def _delete_decisions(connection: Connection, count: int, *, before: int | None = None) -> int:
    """Delete the oldest `count` without a verdict, or those of them that are from before a time; returns how many."""
    if count <= 0:
        return 0
    columns = decisions.c
    drawn = (columns.audit, columns.version, columns.band_low, columns.band_high)
    gone = connection.execute(_delete_oldest(decisions, count, before=before).returning(*drawn)).all()
    lost = Counter(tuple(row[1:]) for row in gone if row.audit)
    for (version, low, high), number in lost.items():
        values = {"version": version, "band_low": low, "band_high": high, "images": number}
        new = insert_into(connection, lost_audits).values(values)
        more = lost_audits.c.images + new.excluded.images
        connection.execute(
            new.on_conflict_do_update(index_elements=lost_audits.primary_key.columns, set_={"images": more})
        )
    return len(gone)


def _delete_images(connection: Connection, max_bytes: int, *, most: int) -> int:
    unjudged = ~exists().where(verdicts.c.record == images.c.record)
    sums = select(func.count(), func.coalesce(func.sum(images.c.bytes), 0)).where(unjudged)
    count, held = connection.execute(sums).one()
    if held <= max_bytes or most <= 0:
        return 0
    share = (held - max_bytes) / held
    return connection.execute(_delete_oldest(images, min(int(count * share) + 1, most))).rowcount


def _delete_oldest(table: Table, count: int, *, before: int | None = None) -> Delete:
    judged = exists().where(verdicts.c.record == table.c.record)
    oldest = select(table.c.record).where(~judged).limit(count)
    if before is None:
        oldest = oldest.order_by(table.c.record)
    else:  # By the index on `time`: where nothing is too old, nothing is read.
        oldest = oldest.where(table.c.time < before).order_by(table.c.time)
    return delete(table).where(table.c.record.in_(select(oldest.subquery().c.record)))


def _count(connection: Connection, statement: Select[Any]) -> int:
    return int(connection.scalar(statement))
