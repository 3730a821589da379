"""Insert records, and delete those beyond the limits of age and size."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Delete,
    Select,
    Table,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.exc import DataError, IntegrityError

from service.errors import RecordsUnavailable
from service.ids import least_id
from service.records.failures import prune_failures
from service.records.outcomes import count_outcomes, prune_counts
from service.records.preview_worker import Preview
from service.records.retention import DAY, Span
from service.records.store import Store, insert_into, insert_new
from service.records.tables import decisions, images, lost_audits, skips, verdicts

log = logging.getLogger(__name__)

PRUNE_ROWS = 5_000
"""Limit for rows deleted in one transaction, which keeps transactions short."""

_PROCESSES_DIFFER, _HOSTS_DIFFER = 60.0, DAY
"""Seconds by which a new record may be ahead of the clock: in SQLite, that of one host, and in PostgreSQL, where a
replica whose clock or time zone is wrong may have made it just now."""

Row = Mapping[str, Any]

_drawn = decisions.alias()


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the store: decisions, days, and bytes of previews.

    Records with a verdict are exempt, and audited images that a reviewer skipped: deleting those would leave a sample
    of the images that are easy to judge.
    """

    max_rows: int
    max_days: float
    max_image_bytes: int


def write(store: Store, rows: Sequence[Row], previews: Sequence[Preview]) -> int:
    """Insert all rows and previews in one transaction and return the number of refused rows.

    Existing rows stay unchanged. If the database refuses a row for its values, the others are still written.

    Raises:
        RecordsUnavailable: the database is unavailable; no row was written.
    """
    if _try_insert(store, rows, previews):
        return 0
    refused = [row for row in rows if not _try_insert(store, [row], ())]
    gone = {row["record"] for row in refused}
    for preview in previews:
        if preview.record not in gone:
            _try_insert(store, (), [preview])
    return len(refused)


def find_span(store: Store) -> Span | None:
    """Return the times of the oldest record that may be deleted and of the newest record; None without either.

    Raises:
        RecordsUnavailable: the store is unreadable.
    """
    with store.begin() as connection:
        oldest = connection.scalar(select(func.min(decisions.c.time)).where(~_is_exempt(decisions)))
        newest = connection.scalar(select(func.max(decisions.c.time)))
    return None if oldest is None or newest is None else Span(oldest / 1e6, newest / 1e6)


def server_clock(store: Store) -> float:
    """Return the clock of the database server in seconds since 1970; 0 for SQLite, which has none of its own.

    Raises:
        RecordsUnavailable: the store is unreadable.
    """
    if store.is_sqlite:
        return 0.0
    with store.begin() as connection:
        seconds: float = connection.scalars(select(func.date_part("epoch", func.clock_timestamp()))).one()
        return seconds


def prune(store: Store, limits: Limits, *, now: float, clock: float | None = None) -> bool:
    """Delete the oldest records beyond the limits, one portion at a time; return whether there may be more.

    Records that are dated after the system clock were made before it was set back: they are the first to go. Those that
    another host may have made just now are not among them.

    Args:
        store: of the records.
        limits: of the store.
        now: the time by which their age is measured.
        clock: the present time, if it differs from `now`.

    Raises:
        RecordsUnavailable: the database is unavailable.
    """
    with store.begin_exclusive() as connection:
        slack = _PROCESSES_DIFFER if store.is_sqlite else _HOSTS_DIFFER
        ahead = least_id(round(((now if clock is None else clock) + slack) * 1000))
        oldest = round((now - limits.max_days * DAY) * 1e6)
        deleted = _delete_decisions(connection, PRUNE_ROWS, before=oldest)
        kept = _count(connection, select(func.count()).select_from(decisions))
        kept -= _count(connection, select(func.count()).select_from(_exempt().subquery()))
        excess = min(kept - limits.max_rows, PRUNE_ROWS - deleted)
        early = _delete_decisions(connection, excess, ahead=ahead)
        deleted += early + _delete_decisions(connection, excess - early)
        deleted += _delete_images(connection, limits.max_image_bytes, most=PRUNE_ROWS - deleted, ahead=ahead)
        prune_counts(connection, now=now)
        prune_failures(connection, ahead=ahead)
    return deleted >= PRUNE_ROWS


def _try_insert(store: Store, rows: Sequence[Row], previews: Sequence[Preview]) -> bool:
    """Insert; return False if the database refused the values."""
    try:
        with store.begin_writing() as connection:
            count_outcomes(connection, _insert_rows(connection, rows))
            _insert_previews(connection, previews)
    except RecordsUnavailable as error:
        # An error about a value does not mean that the database is unavailable.
        if not isinstance(error.__cause__, DataError | IntegrityError):
            raise
        log.error("the database refused a record: %s", error.detail)
        return False
    return True


def _insert_previews(connection: Connection, previews: Sequence[Preview]) -> None:
    known = _known(connection, [preview.record for preview in previews])
    kept = [preview for preview in previews if preview.record in known]
    rows = [{"record": preview.record, "bytes": len(preview.jpeg), "jpeg": preview.jpeg} for preview in kept]
    _insert(connection, images, rows)
    if kept:  # The row may have been written before its hash was known.
        late = update(decisions).where(decisions.c.record == bindparam("of")).values(sha256=bindparam("hash"))
        connection.execute(late, [{"of": preview.record, "hash": preview.sha256} for preview in kept])


def _known(connection: Connection, records: Sequence[str]) -> set[str]:
    """Return the records that still exist."""
    return set(connection.scalars(select(decisions.c.record).where(decisions.c.record.in_(records))))


def _insert_rows(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    """Insert decisions and return the new ones: a retry after a lost response must not count them again."""
    if not rows:
        return []
    new = insert_new(connection, decisions, rows)
    return [row for row in rows if row["record"] in new]


def _insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    if rows:
        # A retry after a lost response inserts the same rows again.
        connection.execute(insert_into(connection, table).on_conflict_do_nothing(), list(rows))


def _delete_decisions(
    connection: Connection, count: int, *, before: int | None = None, ahead: str | None = None
) -> int:
    """Delete the oldest `count` decisions without a verdict and return their number.

    Optionally only those before a time, or from the record `ahead` on.
    """
    if count <= 0:
        return 0
    columns = decisions.c
    drawn = (columns.audit, columns.draw_weight, columns.version, columns.band_low, columns.band_high)
    gone = connection.execute(_delete_oldest(decisions, count, before=before, ahead=ahead).returning(*drawn)).all()
    lost: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in gone:
        if row.audit and row.draw_weight:
            lost[tuple(row[2:])].append(row.draw_weight)
    for (version, low, high), weights in lost.items():
        values = {"version": version, "band_low": low, "band_high": high}
        new = insert_into(connection, lost_audits).values(**values, images=len(weights), weight=sum(weights))
        more = {name: lost_audits.c[name] + new.excluded[name] for name in ("images", "weight")}
        connection.execute(new.on_conflict_do_update(index_elements=lost_audits.primary_key.columns, set_=more))
    return len(gone)


def _delete_images(connection: Connection, max_bytes: int, *, most: int, ahead: str) -> int:
    sums = select(func.count(), func.coalesce(func.sum(images.c.bytes), 0)).where(~_is_exempt(images))
    count, held = connection.execute(sums).one()
    if held <= max_bytes or most <= 0:
        return 0
    share = (held - max_bytes) / held
    count = min(int(count * share) + 1, most)
    early = connection.execute(_delete_oldest(images, count, ahead=ahead)).rowcount
    return early + connection.execute(_delete_oldest(images, count - early)).rowcount


def _delete_oldest(table: Table, count: int, *, before: int | None = None, ahead: str | None = None) -> Delete:
    oldest = select(table.c.record).where(~_is_exempt(table)).limit(count)
    if ahead is not None:
        oldest = oldest.where(table.c.record >= ahead)
    if before is None:
        oldest = oldest.order_by(table.c.record)
    else:  # Uses the index on `time`: without old rows, no row is read.
        oldest = oldest.where(table.c.time < before).order_by(table.c.time)
    return delete(table).where(table.c.record.in_(select(oldest.subquery().c.record)))


def _exempt() -> CompoundSelect[Any]:
    skipped = select(skips.c.record).join(decisions, decisions.c.record == skips.c.record).where(decisions.c.audit)
    return union(select(verdicts.c.record), skipped)


def _is_exempt(table: Table) -> ColumnElement[bool]:
    return or_(
        exists().where(verdicts.c.record == table.c.record),
        exists().where(skips.c.record == table.c.record, _drawn.c.record == table.c.record, _drawn.c.audit),
    )


def _count(connection: Connection, statement: Select[Any]) -> int:
    return int(connection.scalar(statement))
