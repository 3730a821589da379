"""The verdicts on images about which a shadow version differs, before it is promoted."""

from pydantic import BaseModel, Field
from sqlalchemy import Connection, func, select

from gate import Label
from service.records.tables import decisions, shadow_decisions, verdicts
from service.review.served_version import ServedVersion


class ShadowComparison(BaseModel):
    """The served version and one shadow on the drawn images whose label or decision differs.

    On each judged image with differing labels exactly one of the two is right.
    """

    version: str = Field(description="Of the shadow")
    differences: int = Field(description="Drawn images about which the versions differ")
    judged: int = Field(description="Of these, with differing labels and the verdict glasses or no_glasses")
    served_right: int = Field(description="Of these, labelled correctly by the served version")
    shadow_right: int = Field(description="Of these, labelled correctly by the shadow")


def read_comparisons(connection: Connection, served: ServedVersion) -> list[ShadowComparison]:
    """Compare the served version with each shadow, in the order of their names."""
    is_judged = verdicts.c.verdict.in_(list(Label)) & (shadow_decisions.c.label != decisions.c.label)
    rows = connection.execute(
        select(
            shadow_decisions.c.version,
            func.count().label("differences"),
            func.count().filter(is_judged).label("judged"),
            func.count().filter(is_judged, verdicts.c.verdict == decisions.c.label).label("served_right"),
            func.count().filter(is_judged, verdicts.c.verdict == shadow_decisions.c.label).label("shadow_right"),
        )
        .select_from(
            shadow_decisions.join(decisions, decisions.c.record == shadow_decisions.c.record).outerjoin(
                verdicts, verdicts.c.record == shadow_decisions.c.record
            )
        )
        .where(*served.conditions(decisions))
        .group_by(shadow_decisions.c.version)
        .order_by(shadow_decisions.c.version)
    )
    return [ShadowComparison(**row._mapping) for row in rows]
