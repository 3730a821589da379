"""The second reading: audit errors and a tenth of the agreements, judged again by another reviewer.

The second reader sees neither the first verdict nor that there is one. The tenth is drawn by the random end of the
record's ULID, so it is the same in all processes and does not depend on the verdict.
"""

import numpy as np
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select

from common.statistics import cohen_kappa
from gate import Label
from service.records.tables import Verdict, decisions, images, second_verdicts, verdicts
from service.review.review_kind import IS_AUDITED
from service.review.reviewer import Reviewer
from service.review.served_version import ServedVersion

_DRAWN_BELOW = "36"  # In base 32, 102 of 1,024.
AGREEMENTS_READ = 102 / 1024
"""Share of the agreements that are read again."""

_IS_ERROR = verdicts.c.verdict != decisions.c.label
_IS_READ_AGAIN = and_(
    IS_AUDITED,
    verdicts.c.verdict.in_(list(Label)),
    or_(_IS_ERROR, func.substr(decisions.c.record, 25) < _DRAWN_BELOW),
)
_FIRST = verdicts.c.record == decisions.c.record
_HAS_SECOND = exists().where(second_verdicts.c.record == decisions.c.record)


class Agreement(BaseModel):
    """Agreement of second readers with the first verdicts on audit images of one version and band.

    Cohen's kappa is 1 for full agreement and 0 for that of chance. Errors are all read again and agreements in part, so
    the pairs are weighted. The 95 % interval is that of the agreement, with the verdicts' frequencies as observed.
    """

    images: int = Field(description="Audit images with a second verdict")
    differ: int = Field(description="Of these, with another second verdict")
    kappa: float | None = Field(description="null without images, or if all verdicts are the same")
    kappa_lower: float | None
    kappa_upper: float | None


def waits_for_second(reviewer: Reviewer | None = None) -> ColumnElement[bool]:
    """Whether a decision waits for a second verdict, optionally for one by this reviewer."""
    others = [verdicts.c.reviewer != reviewer.name] if reviewer else []
    return and_(exists().where(_FIRST, _IS_READ_AGAIN, *others).correlate(decisions), ~_HAS_SECOND)


def has_second_by(reviewer: Reviewer) -> ColumnElement[bool]:
    """Whether this reviewer gave the second verdict on a decision."""
    return exists().where(second_verdicts.c.record == decisions.c.record, second_verdicts.c.reviewer == reviewer.name)


def count_waiting(connection: Connection) -> int:
    """Count images with a preview that wait for a second verdict."""
    waiting = select(func.count()).select_from(images.join(decisions, decisions.c.record == images.c.record))
    return connection.scalar(waiting.where(waits_for_second())) or 0


def read_agreement(connection: Connection, served: ServedVersion) -> Agreement:
    """Compare the first and second verdicts on audit images of the served version."""
    pairs = connection.execute(
        select(verdicts.c.verdict, second_verdicts.c.verdict, _IS_ERROR, func.count())
        .select_from(
            decisions.join(verdicts, _FIRST).join(second_verdicts, second_verdicts.c.record == decisions.c.record)
        )
        .where(_IS_READ_AGAIN, *served.conditions(decisions))
        .group_by(verdicts.c.verdict, second_verdicts.c.verdict, _IS_ERROR)
    ).all()
    places = {verdict.value: place for place, verdict in enumerate(Verdict)}
    table, squares = np.zeros((len(places), len(places))), 0.0
    for first, second, is_error, count in pairs:
        weight = 1.0 if is_error else 1 / AGREEMENTS_READ
        table[places[first], places[second]] += count * weight
        squares += count * weight**2
    kappa, lower, upper = cohen_kappa(table, table.sum() ** 2 / squares if squares else 0.0)
    return Agreement(
        images=sum(row[3] for row in pairs),
        differ=sum(row[3] for row in pairs if row[0] != row[1]),
        kappa=kappa,
        kappa_lower=lower,
        kappa_upper=upper,
    )
