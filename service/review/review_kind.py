"""Which images people are asked about."""

from enum import StrEnum

from sqlalchemy import ColumnElement, literal, or_, true

from gate import Action
from service.records.tables import decisions

# Written out in the statement: a database takes a partial index only where it sees the value.
IS_DISCARDED = decisions.c.decision == literal(Action.DISCARD.value, literal_execute=True)
IS_AUDITED = decisions.c.audit == true()


class ReviewKind(StrEnum):
    """What was discarded, the audit sample of what was accepted, or both."""

    DISCARDED = "discarded"
    AUDIT = "audit"
    ALL = "all"

    def condition(self) -> ColumnElement[bool]:
        """The same in SQL."""
        return {
            ReviewKind.DISCARDED: IS_DISCARDED,
            ReviewKind.AUDIT: IS_AUDITED,
            ReviewKind.ALL: or_(IS_DISCARDED, IS_AUDITED),
        }[self]
