"""The review queue: claims, verdicts and skips of concurrent reviewers.

Each operation is one exclusive transaction.
"""

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    exists,
    literal,
    or_,
    select,
    update,
)

from service.errors import Conflict, NotFound
from service.records.serialization import COLUMNS, SOURCES, read_record
from service.records.store import Store, insert_into
from service.records.tables import Verdict, claims, decisions, images, skips, verdicts
from service.review.review_kind import ReviewKind, Selection
from service.review.reviewer import Reviewer

LEASE_SECONDS = 300
"""How long a claim reserves an image."""


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
        self, reviewer: Reviewer, *, count: int, kind: ReviewKind | Selection
    ) -> tuple[list[dict[str, Any]], int]:
        """Reserve the oldest `count` images without a verdict, starting with those already reserved for this reviewer.

        Returns them, oldest first, and the end of the reservation in microseconds since 1970.
        """
        now = self._now()
        expires = now + LEASE_SECONDS * 10**6
        with self._store.begin_alone() as connection:
            kept = self._renew(connection, reviewer, kind=kind, count=count, expires=expires)
            if len(kept) < count:
                kept += self._take(connection, reviewer, kind=kind, count=count - len(kept), now=now, expires=expires)
            query = select(*COLUMNS).select_from(SOURCES).where(decisions.c.record.in_(kept))
            rows = connection.execute(query.order_by(decisions.c.record)).all()
        return [read_record(row) for row in rows], expires

    def release(self, reviewer: Reviewer) -> None:
        """Release all images reserved for this reviewer."""
        with self._store.begin_alone() as connection:
            connection.execute(delete(claims).where(claims.c.reviewer == reviewer.name))

    def judge(self, reviewer: Reviewer, record: str, verdict: Verdict) -> bool:
        """Store a verdict in place of an earlier one of the same reviewer; return whether it is a new value.

        Raises:
            NotFound: the image is not in the review.
            Conflict: another reviewer has judged it, or has reserved it.
        """
        now = self._now()
        with self._store.begin_alone() as connection:
            source = select(
                decisions.c.record, literal(verdict.value), literal(reviewer.name), literal(now, BigInteger)
            ).where(
                decisions.c.record == record, ReviewKind.ALL.condition(), ~_is_others(decisions.c.record, reviewer, now)
            )
            statement = insert_into(connection, verdicts).from_select(["record", "verdict", "reviewer", "time"], source)
            new = statement.excluded
            changed = connection.scalar(
                statement.on_conflict_do_update(
                    index_elements=["record"],
                    set_={"verdict": new.verdict, "time": new.time},
                    where=and_(verdicts.c.reviewer == new.reviewer, verdicts.c.verdict != new.verdict),
                ).returning(verdicts.c.record)
            )
            if changed is None:
                _check(connection, reviewer, record)
            connection.execute(delete(claims).where(claims.c.record == record))
        return changed is not None

    def retract(self, reviewer: Reviewer, record: str) -> None:
        """Delete a verdict and reserve the image for this reviewer.

        Raises:
            NotFound: the image is not in the review.
            Conflict: it is another reviewer's verdict and this one is not an admin; or the image is reserved.
        """
        with self._store.begin_alone() as connection:
            own = verdicts.c.reviewer == reviewer.name
            condition = verdicts.c.record == record if reviewer.is_admin else and_(verdicts.c.record == record, own)
            connection.execute(delete(verdicts).where(condition))
            self._hold(connection, reviewer, record)

    def skip(self, reviewer: Reviewer, record: str) -> None:
        """Leave this image to other reviewers.

        Raises:
            NotFound: the image is not in the review.
        """
        with self._store.begin_alone() as connection:
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
        with self._store.begin_alone() as connection:
            connection.execute(delete(skips).where(skips.c.record == record, skips.c.reviewer == reviewer.name))
            self._hold(connection, reviewer, record)

    def unskip_all(self, reviewer: Reviewer) -> None:
        """Delete all skips of this reviewer."""
        with self._store.begin_alone() as connection:
            connection.execute(delete(skips).where(skips.c.reviewer == reviewer.name))

    def _renew(
        self, connection: Connection, reviewer: Reviewer, *, kind: ReviewKind | Selection, count: int, expires: int
    ) -> list[str]:
        own = (
            select(claims.c.record)
            .join(decisions, decisions.c.record == claims.c.record)
            .join(images, images.c.record == claims.c.record)
            .where(claims.c.reviewer == reviewer.name, kind.condition(), ~_has_verdict(claims.c.record))
            .order_by(claims.c.record)
            .limit(count)
        )
        statement = update(claims).where(claims.c.record.in_(own), claims.c.reviewer == reviewer.name)
        return list(connection.scalars(statement.values(expires=expires).returning(claims.c.record)))

    def _take(
        self,
        connection: Connection,
        reviewer: Reviewer,
        *,
        kind: ReviewKind | Selection,
        count: int,
        now: int,
        expires: int,
    ) -> list[str]:
        free = _free(reviewer, kind, now=now, expires=expires).order_by(images.c.record).limit(count)
        return self._upsert(connection, free, where=claims.c.expires < now)

    def _hold(self, connection: Connection, reviewer: Reviewer, record: str) -> None:
        """Reserve one image if it has no verdict and no other reviewer has reserved it."""
        now = self._now()
        source = select(
            decisions.c.record, literal(reviewer.name), literal(now + LEASE_SECONDS * 10**6, BigInteger)
        ).where(decisions.c.record == record, ReviewKind.ALL.condition(), ~_has_verdict(decisions.c.record))
        if not self._upsert(connection, source, where=or_(claims.c.expires < now, claims.c.reviewer == reviewer.name)):
            _check(connection, reviewer, record)

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


def _free(reviewer: Reviewer, kind: ReviewKind | Selection, *, now: int, expires: int) -> Select[Any]:
    """Select images without verdict, claim and skip by this reviewer, as rows of `claims`."""
    record = images.c.record
    return (
        select(record, literal(reviewer.name), literal(expires, BigInteger))
        .join(decisions, decisions.c.record == record)
        .where(
            kind.condition(),
            ~_has_verdict(record),
            ~exists().where(skips.c.record == record, skips.c.reviewer == reviewer.name),
            ~exists().where(claims.c.record == record, claims.c.expires >= now),
        )
    )


def _has_verdict(record: ColumnElement[Any]) -> ColumnElement[bool]:
    return exists().where(verdicts.c.record == record)


def _is_others(record: ColumnElement[Any], reviewer: Reviewer, now: int) -> ColumnElement[bool]:
    """Whether another reviewer has reserved it."""
    return exists().where(claims.c.record == record, claims.c.reviewer != reviewer.name, claims.c.expires >= now)


def _check(connection: Connection, reviewer: Reviewer, record: str) -> None:
    """Raise the reason why no row was written, unless the reviewer's own verdict is already stored."""
    _check_in_review(connection, record)
    found = connection.scalar(select(verdicts.c.reviewer).where(verdicts.c.record == record))
    if found is None:
        raise Conflict("another reviewer is looking at this image")
    if found != reviewer.name:
        raise Conflict(f"{found} has judged this image: only {found} or an admin can change that verdict")


def _check_in_review(connection: Connection, record: str) -> None:
    found = select(decisions.c.record).where(decisions.c.record == record, ReviewKind.ALL.condition())
    if connection.scalar(found) is None:
        raise NotFound("the image is not in the review: it was deleted, or neither discarded nor audited")
