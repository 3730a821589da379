"""Measure the risk of a given band, and the risk at every coverage."""

import numpy as np

from gate.card import Interval
from training.evaluation.calibrate import Bools, Finding, Floats, Values, exact_interval, labelled
from training.evaluation.raw_band import RawBand


class SelectiveRisk(Finding):
    """Coverage and risk of one band with exact 95 % intervals; `risk` is None if no image is accepted."""

    accepted: int
    errors: int
    coverage: Interval
    risk: Interval | None


class RiskCoverage(Finding):
    """The error rate of the most confident images by coverage; `area` is its mean over coverage (AURC)."""

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    area: float


def selective_risk(logits: Values, labels: Values, raw_band: RawBand) -> SelectiveRisk:
    """Measure coverage and risk of a band, such as the paper's, on raw logits, `[N]`, with labels, `[N]` of 0 and 1.

    Raises:
        DataError: there are no images, or a value is not a number.
    """
    scores, glasses = labelled(logits, labels, both=False)
    keep = raw_band.accepts(scores)
    accepted, errors = int(keep.sum()), int((keep & _wrong(scores, glasses)).sum())
    return SelectiveRisk(
        accepted=accepted,
        errors=errors,
        coverage=exact_interval(accepted, len(scores)),
        risk=exact_interval(errors, accepted) if accepted else None,
    )


def risk_coverage(logits: Values, labels: Values) -> RiskCoverage:
    """Compute the risk at every coverage of a symmetric band from logits, `[N]`, and labels, `[N]` of 0 and 1.

    Images of equal |logit| are accepted together.

    Raises:
        DataError: there are no images, or a value is not a number.
    """
    scores, glasses = labelled(logits, labels, both=False)
    order = np.argsort(-np.abs(scores))
    ends = np.flatnonzero(np.diff(np.abs(scores)[order], append=-1.0)) + 1
    coverage = ends / len(scores)
    risk = np.cumsum(_wrong(scores, glasses)[order])[ends - 1] / ends
    area = float((np.diff(coverage, prepend=0.0) * risk).sum())
    return RiskCoverage(coverage=tuple(coverage.tolist()), risk=tuple(risk.tolist()), area=area)


def _wrong(scores: Floats, glasses: Bools) -> Bools:
    wrong: Bools = (scores >= 0) != glasses
    return wrong
