"""The images in the review, by kind."""

from enum import StrEnum

from sqlalchemy import ColumnElement, literal, or_, true

from gate import Action
from service.records.tables import decisions

# A literal in the SQL: databases use a partial index only if they see the value.
IS_DISCARDED = decisions.c.decision == literal(Action.DISCARD.value, literal_execute=True)
IS_AUDITED = decisions.c.audit == true()


class ReviewKind(StrEnum):
    """Discarded images, the audit sample of accepted ones, or both."""

    DISCARDED = "discarded"
    AUDIT = "audit"
    ALL = "all"

    def condition(self) -> ColumnElement[bool]:
        """Return the kind as an SQL condition."""
        return {
            ReviewKind.DISCARDED: IS_DISCARDED,
            ReviewKind.AUDIT: IS_AUDITED,
            ReviewKind.ALL: or_(IS_DISCARDED, IS_AUDITED),
        }[self]
