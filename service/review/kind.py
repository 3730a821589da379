"""Which images people are asked about."""

from enum import StrEnum

from sqlalchemy import ColumnElement, literal, or_, true

from gate import Action
from service.records.tables import decisions

# Written out in the statement: a database takes a partial index only where it sees the value.
IS_DISCARDED = decisions.c.decision == literal(Action.DISCARD.value, literal_execute=True)
IS_AUDITED = decisions.c.audit == true()


class Kind(StrEnum):
    """What was discarded, the audit sample of what was accepted, or both."""

    DISCARDED = "discarded"
    AUDIT = "audit"
    ALL = "all"

    def condition(self) -> ColumnElement[bool]:
        """The same in SQL."""
        return {
            Kind.DISCARDED: IS_DISCARDED,
            Kind.AUDIT: IS_AUDITED,
            Kind.ALL: or_(IS_DISCARDED, IS_AUDITED),
        }[self]
