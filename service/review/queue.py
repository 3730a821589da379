"""The review queue: claims, verdicts and skips of concurrent reviewers.

Each operation is one exclusive transaction.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    delete,
    exists,
    literal,
    or_,
    select,
    update,
)

from service.errors import Conflict, NotFound
from service.records.query import NO_FILTERS, Filters
from service.records.serialization import COLUMNS, RECORD_TABLES, read_record
from service.records.store import Store, insert_into
from service.records.tables import Verdict, claims, decisions, images, second_verdicts, skips, verdicts
from service.review.reading_order import READING_ORDER, first_of, stages
from service.review.review_kind import ReviewKind
from service.review.reviewer import Reviewer
from service.review.second_reading import has_second_by, waits_for_second

LEASE_SECONDS = 300
"""How long a claim reserves an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ClaimRequest:
    """The images that a reviewer asks for; the times are in microseconds since 1970."""

    reviewer: Reviewer
    kind: ReviewKind
    filters: Filters
    now: int
    expires: int


class ReviewQueue:
    """Images waiting for a verdict. Blocking; safe in threads and processes. All operations are idempotent.

    Args:
        store: the store of the records.
        clock: clock in seconds since 1970.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def claim(
        self, reviewer: Reviewer, *, count: int, kind: ReviewKind, filters: Filters = NO_FILTERS
    ) -> tuple[list[dict[str, Any]], int]:
        """Reserve the next `count` images for this reviewer, starting with those already reserved.

        Images wait for a first verdict, or for a second one by another reviewer; they are returned without the first.
        Returns them in `READING_ORDER`, and the end of the reservation in microseconds since 1970.
        """
        now = self._now()
        request = _ClaimRequest(
            reviewer=reviewer, kind=kind, filters=filters, now=now, expires=now + LEASE_SECONDS * 10**6
        )
        with self._store.begin_exclusive() as connection:
            claimed = self._renew(connection, request, count)
            claimed += self._take(connection, request, count - len(claimed))
            query = select(*COLUMNS).select_from(RECORD_TABLES).where(decisions.c.record.in_(claimed))
            rows = connection.execute(query.order_by(*READING_ORDER)).all()
        return [read_record(row) | {"verdict": None} for row in rows], request.expires

    def release(self, reviewer: Reviewer) -> None:
        """Release all images reserved for this reviewer."""
        with self._store.begin_exclusive() as connection:
            connection.execute(delete(claims).where(claims.c.reviewer == reviewer.name))

    def judge(self, reviewer: Reviewer, record: str, verdict: Verdict) -> bool:
        """Store a verdict in place of an earlier one of the same reviewer; return whether it is a new value.

        On an image that waits for a second reader, it is the second verdict.

        Raises:
            NotFound: the image is not in the review.
            Conflict: another reviewer has judged it, or has reserved it.
        """
        now = self._now()
        with self._store.begin_exclusive() as connection:
            table = _verdicts_of(connection, reviewer, record)
            source = select(
                decisions.c.record, literal(verdict.value), literal(reviewer.name), literal(now, BigInteger)
            ).where(
                decisions.c.record == record,
                ReviewKind.ALL.condition(),
                # A second reader may hold an image whose first verdict its reviewer changes.
                or_(
                    ~_is_others(decisions.c.record, reviewer, now),
                    exists().where(table.c.record == record, table.c.reviewer == reviewer.name),
                ),
            )
            statement = insert_into(connection, table).from_select(["record", "verdict", "reviewer", "time"], source)
            new = statement.excluded
            changed = connection.scalar(
                statement.on_conflict_do_update(
                    index_elements=["record"],
                    set_={"verdict": new.verdict, "time": new.time},
                    where=and_(table.c.reviewer == new.reviewer, table.c.verdict != new.verdict),
                ).returning(table.c.record)
            )
            if changed is None:
                _check_conflict(connection, reviewer, record, table=table)
            connection.execute(delete(claims).where(claims.c.record == record, claims.c.reviewer == reviewer.name))
        return changed is not None

    def retract(self, reviewer: Reviewer, record: str) -> None:
        """Delete a verdict and reserve the image for this reviewer.

        Raises:
            NotFound: the image is not in the review.
            Conflict: it is another reviewer's verdict and this one is not an admin; or the image is reserved.
        """
        with self._store.begin_exclusive() as connection:
            table = _verdicts_of(connection, reviewer, record)
            condition = table.c.record == record
            if not reviewer.is_admin:
                condition = and_(condition, table.c.reviewer == reviewer.name)
            connection.execute(delete(table).where(condition))
            self._hold(connection, reviewer, record)

    def skip(self, reviewer: Reviewer, record: str) -> None:
        """Leave this image to other reviewers.

        Raises:
            NotFound: the image is not in the review.
        """
        with self._store.begin_exclusive() as connection:
            source = select(decisions.c.record, literal(reviewer.name), literal(self._now(), BigInteger)).where(
                decisions.c.record == record, ReviewKind.ALL.condition()
            )
            statement = insert_into(connection, skips).from_select(["record", "reviewer", "time"], source)
            connection.execute(statement.on_conflict_do_nothing())
            _check_in_review(connection, record)
            connection.execute(delete(claims).where(claims.c.record == record, claims.c.reviewer == reviewer.name))

    def unskip(self, reviewer: Reviewer, record: str) -> None:
        """Delete a skip and reserve the image for this reviewer.

        Raises:
            NotFound: the image is not in the review.
            Conflict: another reviewer has judged or reserved it in the meantime.
        """
        with self._store.begin_exclusive() as connection:
            connection.execute(delete(skips).where(skips.c.record == record, skips.c.reviewer == reviewer.name))
            self._hold(connection, reviewer, record)

    def unskip_all(self, reviewer: Reviewer) -> None:
        """Delete all skips of this reviewer."""
        with self._store.begin_exclusive() as connection:
            connection.execute(delete(skips).where(skips.c.reviewer == reviewer.name))

    def _renew(self, connection: Connection, request: _ClaimRequest, count: int) -> list[str]:
        """Extend the claims of this reviewer, at most `count`; return their records."""
        reviewer = request.reviewer
        own = (
            select(claims.c.record)
            .join(decisions, decisions.c.record == claims.c.record)
            .join(images, images.c.record == claims.c.record)
            .where(claims.c.reviewer == reviewer.name, request.kind.condition(), _waits_for(reviewer))
            .where(*request.filters.conditions())
            .order_by(*READING_ORDER)
            .limit(count)
        )
        statement = update(claims).where(claims.c.record.in_(own), claims.c.reviewer == reviewer.name)
        return list(connection.scalars(statement.values(expires=request.expires).returning(claims.c.record)))

    def _take(self, connection: Connection, request: _ClaimRequest, count: int) -> list[str]:
        """Claim at most `count` further images; return their records."""
        taken: list[str] = []
        for stage in stages(request.kind):
            if len(taken) < count:
                first = first_of(_free(request, stage), count - len(taken))
                taken += self._upsert(connection, first, where=~is_held(request.now))
        return taken

    def _hold(self, connection: Connection, reviewer: Reviewer, record: str) -> None:
        """Reserve one image if it has no verdict and no other reviewer has reserved it."""
        now = self._now()
        source = select(
            decisions.c.record, literal(reviewer.name), literal(now + LEASE_SECONDS * 10**6, BigInteger)
        ).where(decisions.c.record == record, ReviewKind.ALL.condition(), _waits_for(reviewer))
        if not self._upsert(connection, source, where=or_(~is_held(now), claims.c.reviewer == reviewer.name)):
            _check_conflict(connection, reviewer, record)

    def _upsert(self, connection: Connection, source: Select[Any], *, where: ColumnElement[bool]) -> list[str]:
        """Claim the images that `source` selects, replacing claims that match `where`; return the claimed ones."""
        statement = insert_into(connection, claims).from_select(["record", "reviewer", "expires"], source)
        new = statement.excluded
        statement = statement.on_conflict_do_update(
            index_elements=["record"], set_={"reviewer": new.reviewer, "expires": new.expires}, where=where
        )
        return list(connection.scalars(statement.returning(claims.c.record)))

    def _now(self) -> int:
        return round(self._clock() * 1e6)


def is_held(now: int) -> ColumnElement[bool]:
    """Whether a claim reserves its image at `now`, in microseconds since 1970.

    A claim that ends later than any made now was made by a clock that ran ahead; replicas may differ by a lease.
    """
    return claims.c.expires.between(now, now + 2 * LEASE_SECONDS * 10**6)


def _free(request: _ClaimRequest, stage: ColumnElement[bool]) -> Select[Any]:
    """Select images that wait for this reviewer, without claim and skip, as rows of `claims`."""
    record, name = decisions.c.record, request.reviewer.name
    return (
        select(record, literal(name).label("reviewer"), literal(request.expires, BigInteger).label("expires"))
        .join(images, images.c.record == record)
        .where(
            stage,
            _waits_for(request.reviewer),
            ~exists().where(skips.c.record == record, skips.c.reviewer == name),
            ~exists().where(claims.c.record == record, is_held(request.now)),
        )
        .where(*request.filters.conditions())
    )


def _waits_for(reviewer: Reviewer) -> ColumnElement[bool]:
    """Whether a decision waits for a first verdict, or for a second one by this reviewer."""
    is_judged = exists().where(verdicts.c.record == decisions.c.record)
    return or_(and_(~is_judged, ~has_second_by(reviewer)), waits_for_second(reviewer))


def _verdicts_of(connection: Connection, reviewer: Reviewer, record: str) -> Table:
    """Return the table of this reviewer's verdict on the record: that of second readers, or of first ones."""
    is_second = or_(has_second_by(reviewer), waits_for_second(reviewer))
    second = connection.scalar(select(decisions.c.record).where(decisions.c.record == record, is_second))
    return verdicts if second is None else second_verdicts


def _is_others(record: ColumnElement[Any], reviewer: Reviewer, now: int) -> ColumnElement[bool]:
    """Whether another reviewer has reserved it."""
    return exists().where(claims.c.record == record, claims.c.reviewer != reviewer.name, is_held(now))


def _check_conflict(connection: Connection, reviewer: Reviewer, record: str, *, table: Table = verdicts) -> None:
    """Raise the reason why no row was written, unless the reviewer's own verdict is already stored."""
    _check_in_review(connection, record)
    judge = connection.scalar(select(table.c.reviewer).where(table.c.record == record))
    if judge is None:
        raise Conflict("another reviewer is looking at this image")
    if judge != reviewer.name:
        raise Conflict(f"{judge} has judged this image: only {judge} or an admin can change that verdict")


def _check_in_review(connection: Connection, record: str) -> None:
    in_review = select(decisions.c.record).where(decisions.c.record == record, ReviewKind.ALL.condition())
    if connection.scalar(in_review) is None:
        raise NotFound("the image is not in the review: it was deleted, or neither discarded nor audited")
