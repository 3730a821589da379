"""Who is shown which image, and what they say of it: claims, verdicts and skips, for any number of reviewers at once.

Each step is one transaction that lets nobody else in.
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
from service.review.review_kind import ReviewKind
from service.review.reviewer import Reviewer

LEASE_SECONDS = 300
"""How long an image is kept for who claimed it."""


class ReviewQueue:
    """The images that wait for a verdict. Blocks, and is safe in threads and processes.

    A claim, a verdict or a skip that is sent twice does once what it does.

    Args:
        store: where they lie.
        clock: seconds since 1970.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def claim(self, reviewer: Reviewer, *, count: int, kind: ReviewKind) -> tuple[list[dict[str, Any]], int]:
        """Keep the oldest `count` images without a verdict for this reviewer, those first that are kept already.

        Returns them, the oldest first, and until when they are kept, in microseconds since 1970.
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
        """Keep nothing for this reviewer any more."""
        with self._store.begin_alone() as connection:
            connection.execute(delete(claims).where(claims.c.reviewer == reviewer.name))

    def judge(self, reviewer: Reviewer, record: str, verdict: Verdict) -> bool:
        """Note what the image shows, in place of what the same reviewer said before. Whether that was something else.

        Raises:
            NotFound: nobody is asked about such an image.
            Conflict: somebody else has judged it, or looks at it now.
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
        """Take a verdict back, and keep the image for this reviewer, who is about to give another.

        Raises:
            NotFound: nobody is asked about such an image.
            Conflict: the verdict is another's, and the reviewer is no admin; or another looks at the image now.
        """
        with self._store.begin_alone() as connection:
            own = verdicts.c.reviewer == reviewer.name
            condition = verdicts.c.record == record if reviewer.is_admin else and_(verdicts.c.record == record, own)
            connection.execute(delete(verdicts).where(condition))
            self._hold(connection, reviewer, record)

    def skip(self, reviewer: Reviewer, record: str) -> None:
        """Show this image to others, and to this reviewer no more.

        Raises:
            NotFound: nobody is asked about such an image.
        """
        with self._store.begin_alone() as connection:
            source = select(decisions.c.record, literal(reviewer.name), literal(self._now(), BigInteger)).where(
                decisions.c.record == record, ReviewKind.ALL.condition()
            )
            statement = insert_into(connection, skips).from_select(["record", "reviewer", "time"], source)
            connection.execute(statement.on_conflict_do_nothing())
            _check_asked(connection, record)
            connection.execute(delete(claims).where(claims.c.record == record, claims.c.reviewer == reviewer.name))

    def unskip(self, reviewer: Reviewer, record: str) -> None:
        """Take a skip back, and keep the image for this reviewer.

        Raises:
            NotFound: nobody is asked about such an image.
            Conflict: somebody else has judged it meanwhile, or looks at it now.
        """
        with self._store.begin_alone() as connection:
            connection.execute(delete(skips).where(skips.c.record == record, skips.c.reviewer == reviewer.name))
            self._hold(connection, reviewer, record)

    def unskip_all(self, reviewer: Reviewer) -> None:
        """Show this reviewer again what they skipped."""
        with self._store.begin_alone() as connection:
            connection.execute(delete(skips).where(skips.c.reviewer == reviewer.name))

    def _renew(
        self, connection: Connection, reviewer: Reviewer, *, kind: ReviewKind, count: int, expires: int
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
        self, connection: Connection, reviewer: Reviewer, *, kind: ReviewKind, count: int, now: int, expires: int
    ) -> list[str]:
        free = _free(reviewer, kind, now=now, expires=expires).order_by(images.c.record).limit(count)
        return self._upsert(connection, free, where=claims.c.expires < now)

    def _hold(self, connection: Connection, reviewer: Reviewer, record: str) -> None:
        """Keep this one image, if nobody has judged it and nobody else looks at it."""
        now = self._now()
        source = select(
            decisions.c.record, literal(reviewer.name), literal(now + LEASE_SECONDS * 10**6, BigInteger)
        ).where(decisions.c.record == record, ReviewKind.ALL.condition(), ~_has_verdict(decisions.c.record))
        if not self._upsert(connection, source, where=or_(claims.c.expires < now, claims.c.reviewer == reviewer.name)):
            _check(connection, reviewer, record)

    def _upsert(self, connection: Connection, source: Select[Any], *, where: ColumnElement[bool]) -> list[str]:
        """Claim what `source` finds, also what is claimed already where that may be; returns what is claimed now."""
        statement = insert_into(connection, claims).from_select(["record", "reviewer", "expires"], source)
        new = statement.excluded
        statement = statement.on_conflict_do_update(
            index_elements=["record"], set_={"reviewer": new.reviewer, "expires": new.expires}, where=where
        )
        return list(connection.scalars(statement.returning(claims.c.record)))

    def _now(self) -> int:
        return round(self._clock() * 1e6)


def _free(reviewer: Reviewer, kind: ReviewKind, *, now: int, expires: int) -> Select[Any]:
    """Images that nobody has judged or looks at, and that this reviewer did not skip, as rows of `claims`."""
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
    """Whether somebody else looks at it."""
    return exists().where(claims.c.record == record, claims.c.reviewer != reviewer.name, claims.c.expires >= now)


def _check(connection: Connection, reviewer: Reviewer, record: str) -> None:
    """Say why nothing was written, unless the reviewer's own verdict stands there already."""
    _check_asked(connection, record)
    found = connection.scalar(select(verdicts.c.reviewer).where(verdicts.c.record == record))
    if found is None:
        raise Conflict("somebody else looks at this image now")
    if found != reviewer.name:
        raise Conflict(f"{found} has judged this image: only they, or an admin, can take that back")


def _check_asked(connection: Connection, record: str) -> None:
    asked = select(decisions.c.record).where(decisions.c.record == record, ReviewKind.ALL.condition())
    if connection.scalar(asked) is None:
        raise NotFound("nobody is asked about such an image: it is gone, or was neither discarded nor audited")
