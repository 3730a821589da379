"""Progress of the review: waiting images, verdicts by this reviewer and by all, and the audit."""

import time

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, Table, and_, exists, func, select

from service.records.store import Store
from service.records.tables import Verdict, claims, decisions, images, second_verdicts, skips, verdicts
from service.review.audit import Audit, read_audit
from service.review.queue import is_held
from service.review.review_kind import IS_AUDITED, IS_DISCARDED
from service.review.reviewer import Reviewer
from service.review.second_reading import Agreement, count_waiting, read_agreement
from service.review.served_version import ServedVersion
from service.review.shadow_comparison import ShadowComparison, read_comparisons


class Waiting(BaseModel):
    """Images with a preview and without a verdict."""

    discarded: int
    audit: int
    second: int = Field(description="Audit images with a verdict, waiting for that of a second reader")


class VerdictCounts(BaseModel):
    """Number of verdicts by value."""

    glasses: int
    no_glasses: int
    unclear: int


class ReviewerCounts(VerdictCounts):
    """The verdicts of one reviewer, and the waiting images that they skipped."""

    skipped: int


class Progress(BaseModel):
    """Progress of the review for one reviewer."""

    reviewer: str
    waiting: Waiting
    with_others: int = Field(description="Waiting images reserved for other reviewers")
    verdicts: VerdictCounts
    mine: ReviewerCounts
    audit: Audit
    agreement: Agreement
    shadows: list[ShadowComparison]


def read_progress(store: Store, reviewer: Reviewer, served: ServedVersion) -> Progress:
    """Count everything for one reviewer.

    Raises:
        RecordsUnavailable: the store is unreadable.
    """
    with store.begin() as connection:
        others = and_(claims.c.reviewer != reviewer.name, is_held(round(time.time() * 1e6)))
        first, second = (
            _read_verdicts(connection, table, table.c.reviewer == reviewer.name)
            for table in (verdicts, second_verdicts)
        )
        mine = {verdict: first[verdict] + second[verdict] for verdict in Verdict}
        return Progress(
            reviewer=reviewer.name,
            waiting=read_waiting(connection),
            with_others=connection.scalar(select(func.count()).select_from(claims).where(others)) or 0,
            verdicts=VerdictCounts(**_read_verdicts(connection, verdicts)),
            mine=ReviewerCounts(**mine, skipped=_count_skipped(connection, reviewer)),
            audit=read_audit(connection, served),
            agreement=read_agreement(connection, served),
            shadows=read_comparisons(connection, served),
        )


def read_waiting(connection: Connection) -> Waiting:
    """Count waiting images."""
    row = connection.execute(
        select(func.count().filter(IS_DISCARDED).label("discarded"), func.count().filter(IS_AUDITED).label("audit"))
        .select_from(images.join(decisions, decisions.c.record == images.c.record))
        .where(~exists().where(verdicts.c.record == images.c.record))
    ).one()
    return Waiting(discarded=row.discarded, audit=row.audit, second=count_waiting(connection))


def _read_verdicts(connection: Connection, table: Table, *conditions: ColumnElement[bool]) -> dict[Verdict, int]:
    counted = select(table.c.verdict, func.count()).where(*conditions).group_by(table.c.verdict)
    return dict.fromkeys(Verdict, 0) | {Verdict(row[0]): row[1] for row in connection.execute(counted)}


def _count_skipped(connection: Connection, reviewer: Reviewer) -> int:
    waits = (
        select(func.count())
        .select_from(skips.join(images, images.c.record == skips.c.record))
        .where(skips.c.reviewer == reviewer.name, ~exists().where(verdicts.c.record == skips.c.record))
    )
    return connection.scalar(waits) or 0
