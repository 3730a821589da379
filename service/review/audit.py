"""Estimate the error among accepted images from verdicts on a random sample of them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, Table, func, literal, select

from common.statistics import clopper_pearson
from gate import Band, Card, Label
from gate.card import CardClass
from service.records.tables import Verdict, decisions, images, lost_audits, verdicts
from service.review.review_kind import IS_AUDITED


@dataclass(frozen=True, slots=True)
class Served:
    """The served version, and the promises of its card, which hold for exactly its own band.

    `certified_risk` bounds the errors among all accepted images, if the card certifies that; `classes` holds the
    certificates of the labels, certified or not.
    """

    version: str
    band: Band
    certified_risk: float | None
    classes: Mapping[Label, CardClass] = field(default_factory=dict)

    @classmethod
    def of(cls, card: Card, band: Band) -> "Served":
        """Make it from a card and the band in use. A band set by the operator is not certified."""
        if not card.band.is_kept_by(band):
            return cls(card.version, band, None)
        return cls(card.version, band, card.band.target_risk, card.band.classes or {})


class Audit(BaseModel):
    """The audit sample of one version and band, and its error.

    The interval is exact (Clopper-Pearson, 95 %) and holds if the verdicts cover a random part of the sample.
    `least_possible` and `most_possible` bound the error of the sample for any verdicts on the rest.
    """

    version: str
    certified_risk: float | None = Field(description="Error share certified by the model's card")
    drawn: int = Field(description="Accepted images in the sample")
    images: int = Field(description="Of these, with the verdict glasses or no_glasses")
    errors: int = Field(description="Of these, labelled differently by the model")
    unclear: int = Field(description="With the verdict unclear")
    waiting: int = Field(description="Without a verdict")
    lost: int = Field(description="Of these, without a preview: deleted, or never made")
    error_ratio: float | None
    error_lower: float | None
    error_upper: float | None
    least_possible: float | None
    most_possible: float | None


def read_audit(connection: Connection, served: Served) -> Audit:
    """Count the audit sample of the served version by verdict."""
    judged = verdicts.c.verdict.in_([Verdict.GLASSES, Verdict.NO_GLASSES])
    waiting = verdicts.c.verdict.is_(None)
    counts = (
        func.count().label("drawn"),
        func.count().filter(judged).label("images"),
        func.count().filter(judged, verdicts.c.verdict != decisions.c.label).label("errors"),
        func.count().filter(verdicts.c.verdict == Verdict.UNCLEAR).label("unclear"),
        func.count().filter(waiting).label("waiting"),
        func.count().filter(waiting, images.c.record.is_(None)).label("lost"),
    )
    row = connection.execute(
        select(*counts)
        .select_from(
            decisions.outerjoin(verdicts, verdicts.c.record == decisions.c.record).outerjoin(
                images, images.c.record == decisions.c.record
            )
        )
        .where(IS_AUDITED, *is_by(decisions, served))
    ).one()
    gone = connection.scalar(select(lost_audits.c.images).where(*is_by(lost_audits, served))) or 0
    found = {name: row._mapping[name] + gone for name in ("drawn", "waiting", "lost")}
    return _estimate(served, **{**row._mapping, **found})


def is_by(table: Table, served: Served) -> Iterator[ColumnElement[bool]]:
    """Yield the SQL conditions for decisions by this version and band."""
    yield table.c.version == served.version
    yield table.c.band_low == literal(served.band.low)
    yield table.c.band_high == literal(served.band.high)


def _estimate(served: Served, *, drawn: int, images: int, errors: int, unclear: int, waiting: int, lost: int) -> Audit:
    lower, upper = clopper_pearson(errors, images)
    return Audit(
        version=served.version,
        certified_risk=served.certified_risk,
        drawn=drawn,
        images=images,
        errors=errors,
        unclear=unclear,
        waiting=waiting,
        lost=lost,
        error_ratio=errors / images if images else None,
        error_lower=None if math.isnan(lower) else lower,
        error_upper=None if math.isnan(upper) else upper,
        least_possible=errors / drawn if drawn else None,
        most_possible=(errors + drawn - images) / drawn if drawn else None,
    )
