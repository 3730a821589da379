"""The order in which images are given to reviewers.

Contradicted images come first: the order or the model is wrong. The audit follows in the order of its draws, which its
evidence takes, and then the other discarded images, those nearest the band first.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Select, case, literal, select

from gate import Reason
from service.records.tables import decisions
from service.review.review_kind import IS_AUDITED, IS_DISCARDED, ReviewKind

WINDOW = 2_000
"""Oldest waiting images that are compared: sorting all of them would hold up the writer of the records."""

_PROBABILITY, _LOW, _HIGH = decisions.c.probability, decisions.c.band_low, decisions.c.band_high
_DISTANCE = case(
    (IS_AUDITED, 0.0),
    (_PROBABILITY < _LOW, _LOW - _PROBABILITY),
    (_PROBABILITY > _HIGH, _PROBABILITY - _HIGH),
    else_=0.0,
)
# A literal in the SQL, for the partial index.
_IS_CONTRADICTED = decisions.c.reason == literal(Reason.CONTRADICTED.value, literal_execute=True)

READING_ORDER: tuple[ColumnElement[Any], ...] = (
    case((_IS_CONTRADICTED, 0), (IS_AUDITED, 1), else_=2),
    _DISTANCE,
    decisions.c.record,
)


def stages(kind: ReviewKind) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions of the images to give out one after the other."""
    if kind is not ReviewKind.AUDIT:
        yield _IS_CONTRADICTED
    if kind is not ReviewKind.DISCARDED:
        yield IS_AUDITED
    if kind is not ReviewKind.AUDIT:
        yield IS_DISCARDED


def first_of(rows: Select[Any], count: int) -> Select[Any]:
    """Return the first `count` of the rows, which start with `record`, within the window."""
    names = [column.name for column in rows.selected_columns]
    oldest = rows.add_columns(_DISTANCE.label("distance")).order_by(decisions.c.record).limit(WINDOW).subquery()
    return select(*(oldest.c[name] for name in names)).order_by(oldest.c.distance, oldest.c.record).limit(count)
