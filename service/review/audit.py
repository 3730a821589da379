"""Estimate the error among accepted images from verdicts on a random sample of them."""

import math
from collections.abc import Mapping

from pydantic import BaseModel, Field
from sqlalchemy import Connection, func, select

from common.statistics import weighted_interval
from gate import Label
from service.records.serialization import RECORD_TABLES
from service.records.tables import Verdict, decisions, images, lost_audits, verdicts
from service.review.draws import Draws, read_draws
from service.review.review_kind import IS_IN_SAMPLE
from service.review.served_version import ServedVersion


class RiskEstimate(BaseModel):
    """The error among the accepted images of a label, or of both, and the evidence about its certified risk.

    The ratio is weighted by the draws and estimates the error among all accepted images. The 95 % interval is that of
    Clopper and Pearson for `effective_images`; it holds for one look, and if the verdicts cover a random part of the
    sample. The evidence holds at any time: while the true risk keeps the certified one, `evidence_above` ever reaches
    20 with a probability of at most 5 %, and 100 with at most 1 %. `evidence_below` is the same for a true risk that
    exceeds the certified one.
    """

    certified_risk: float | None = Field(description="Error share certified by the model's card")
    images: int = Field(description="Audited images with the verdict glasses or no_glasses")
    errors: int = Field(description="Of these, labelled differently by the model")
    effective_images: float = Field(description="Uniform draws that would be as precise")
    error_ratio: float | None
    error_lower: float | None
    error_upper: float | None
    evidence_above: float | None = Field(description="Evidence that the risk exceeds the certified one; 1 is none")
    evidence_below: float | None = Field(description="Evidence that the risk is below the certified one; 1 is none")


class Audit(RiskEstimate):
    """The audit sample of one version and band, and its error.

    `least_possible` and `most_possible` bound the error of the sample for any verdicts on the rest. `broken_promise` is
    the mean evidence against all promises of the card, and reaches 20 with a probability of at most 5 % if all hold.
    """

    version: str
    drawn: int = Field(description="Accepted images in the sample")
    unclear: int = Field(description="With the verdict unclear")
    waiting: int = Field(description="Without a verdict")
    lost: int = Field(description="Of these, without a preview: deleted, or never made")
    least_possible: float | None
    most_possible: float | None
    broken_promise: float | None = Field(description="Evidence that the card's promises do not hold together")
    classes: dict[Label, RiskEstimate]


def read_audit(connection: Connection, served: ServedVersion) -> Audit:
    """Count the audit sample of the served version by verdict, and weigh the evidence of the verdicts."""
    draws = read_draws(connection, served)
    classes = {label: estimate(draws.of(label), served.promised(label)) for label in Label}
    overall = estimate(draws, served.certified_risk)
    return Audit(
        version=served.version,
        broken_promise=_mean([overall.evidence_above, *(risk.evidence_above for risk in classes.values())]),
        classes=classes,
        **dict(overall),
        **_count(connection, served, draws),
    )


def estimate(draws: Draws, certified_risk: float | None) -> RiskEstimate:
    """Estimate the risk that the draws come from."""
    ratio = draws.wrong_weight / draws.weight if draws.judged else None
    lower, upper = (math.nan, math.nan) if ratio is None else weighted_interval(ratio, draws.effective)
    return RiskEstimate(
        certified_risk=certified_risk,
        images=draws.judged,
        errors=draws.errors,
        effective_images=draws.effective,
        error_ratio=ratio,
        error_lower=None if math.isnan(lower) else lower,
        error_upper=None if math.isnan(upper) else upper,
        evidence_above=None if certified_risk is None else draws.above(certified_risk),
        evidence_below=None if certified_risk is None else draws.below(certified_risk),
    )


def _count(connection: Connection, served: ServedVersion, draws: Draws) -> Mapping[str, int | float | None]:
    waiting = verdicts.c.verdict.is_(None)
    counts = (
        func.count().label("drawn"),
        func.coalesce(func.sum(decisions.c.draw_weight), 0.0).label("weight"),
        func.count().filter(verdicts.c.verdict == Verdict.UNCLEAR).label("unclear"),
        func.count().filter(waiting).label("waiting"),
        func.count().filter(waiting, images.c.record.is_(None)).label("lost"),
    )
    row = connection.execute(
        select(*counts).select_from(RECORD_TABLES).where(IS_IN_SAMPLE, *served.conditions(decisions))
    ).one()
    deleted = select(lost_audits.c.images, lost_audits.c.weight).where(*served.conditions(lost_audits))
    gone, gone_weight = connection.execute(deleted).one_or_none() or (0, 0.0)
    drawn, weight = row.drawn + gone, row.weight + gone_weight
    return {
        "drawn": drawn,
        "unclear": row.unclear,
        "waiting": row.waiting + gone,
        "lost": row.lost + gone,
        "least_possible": draws.wrong_weight / weight if drawn else None,
        "most_possible": (draws.wrong_weight + weight - draws.weight) / weight if drawn else None,
    }


def _mean(evidence: list[float | None]) -> float | None:
    """Return the mean evidence of the promises; a mean of e-processes is one, for all of them together."""
    known = [each for each in evidence if each is not None]
    return sum(known) / len(known) if known else None
