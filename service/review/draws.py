"""The audited images in the order in which they were drawn, and the evidence of their verdicts."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, case, func, or_, select

from common.evidence import Floats, Side, log_evidence
from gate import Label
from service.records.serialization import RECORD_TABLES
from service.records.tables import decisions, images, storable_text, verdicts
from service.review.review_kind import IS_IN_SAMPLE
from service.review.served_version import ServedVersion

_MAX_LOGARITHM = 700.0
"""Largest logarithm of the evidence, near the limit of a double."""


@dataclass(frozen=True, slots=True)
class Draws:
    """N audited images in the order of their draw, up to the last one with a verdict.

    The order of reading is the reviewers' choice and may depend on the images, so the evidence does not use it. An
    image that was passed over is a gap: it counts as the outcome that lowers the evidence. Images with the verdict
    unclear, and those without a preview, are left out.

    Attributes:
        labels: of the model, `[N]`.
        outcomes: 1 for an error, 0 for a correct label, NaN for a gap, `[N]`.
        weights: of the draws, in (0, 1], `[N]`.
        probabilities: of glasses, `[N]`.
    """

    labels: NDArray[np.str_]
    outcomes: Floats
    weights: Floats
    probabilities: Floats

    @property
    def judged(self) -> int:
        """Images with a verdict."""
        return len(self.outcomes) - int(np.isnan(self.outcomes).sum())

    @property
    def errors(self) -> int:
        """Images labelled wrongly."""
        return int(np.nansum(self.outcomes))

    @property
    def weight(self) -> float:
        """Sum of the weights of the judged images."""
        return float(self.weights[~np.isnan(self.outcomes)].sum())

    @property
    def wrong_weight(self) -> float:
        """Sum of the weights of the images labelled wrongly."""
        return float(np.nansum(self.outcomes * self.weights))

    @property
    def effective(self) -> float:
        """Number of equally weighted verdicts with the same variance (L. Kish, 1965)."""
        weights = self.weights[~np.isnan(self.outcomes)]
        return float(weights.sum() ** 2 / (weights**2).sum()) if len(weights) else 0.0

    def of(self, label: Label) -> "Draws":
        """Return the images that were accepted with the label."""
        return self.where(self.labels == label)

    def where(self, kept: NDArray[np.bool_]) -> "Draws":
        """Return the images where `kept`, `[N]`, holds."""
        return Draws(self.labels[kept], self.outcomes[kept], self.weights[kept], self.probabilities[kept])

    def with_errors(self, count: int) -> "Draws":
        """Return the same images as if the first `count` verdicts were errors and the others correct."""
        judged = np.flatnonzero(~np.isnan(self.outcomes))
        outcomes = np.where(np.isnan(self.outcomes), np.nan, 0.0)
        outcomes[judged[:count]] = 1.0
        return replace(self, outcomes=outcomes)

    def above(self, target: float) -> float:
        """Return the evidence that the risk exceeds the target; gaps count as correct labels."""
        evidence = log_evidence(np.nan_to_num(self.outcomes, nan=0.0), self.weights, target=target, side=Side.ABOVE)
        return _number(evidence[-1])

    def below(self, target: float) -> float:
        """Return the evidence that the risk is below the target.

        It is the larger of two values of one e-process: before the first gap, and at the end with gaps as errors.
        """
        evidence = log_evidence(np.nan_to_num(self.outcomes, nan=1.0), self.weights, target=target, side=Side.BELOW)
        gaps = np.flatnonzero(np.isnan(self.outcomes))
        return _number(max(evidence[gaps[0] if len(gaps) else -1], evidence[-1]))


def read_draws(connection: Connection, served: ServedVersion, *, source: str | None = None) -> Draws:
    """Read the audit sample of the served version, optionally of one source."""
    of_source = [] if source is None else [decisions.c.source == storable_text(source)]
    last = select(func.max(verdicts.c.record)).scalar_subquery()
    judged = verdicts.c.verdict.in_(list(Label))
    waiting = and_(verdicts.c.verdict.is_(None), images.c.record.is_not(None))
    rows = connection.execute(
        select(
            decisions.c.label,
            decisions.c.draw_weight,
            decisions.c.probability,
            case((judged, verdicts.c.verdict != decisions.c.label)).label("is_wrong"),
        )
        .select_from(RECORD_TABLES)
        # Records are ULIDs, so their order is that of the draws.
        .where(
            IS_IN_SAMPLE, *served.conditions(decisions), *of_source, decisions.c.record <= last, or_(judged, waiting)
        )
        .order_by(decisions.c.record)
    ).all()
    outcomes = np.array([row.is_wrong for row in rows], np.float64)
    # Images after the last one with a verdict wait for their turn.
    judged_at = np.flatnonzero(~np.isnan(outcomes))
    count = int(judged_at[-1]) + 1 if len(judged_at) else 0
    kept = rows[:count]
    return Draws(
        labels=np.array([row.label for row in kept], np.str_),
        outcomes=outcomes[:count],
        weights=np.array([row.draw_weight for row in kept], np.float64),
        probabilities=np.array([row.probability for row in kept], np.float64),
    )


def _number(logarithm: float) -> float:
    return math.exp(min(_MAX_LOGARITHM, logarithm))
