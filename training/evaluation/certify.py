"""Certify the band of uncertainty, for each answer by itself.

Of the images accepted as `glasses`, at most the target share is labelled wrongly, and of those accepted as `no_glasses`
likewise: one promise for all accepted images would let the rarer answer be worse. Each promise holds with the requested
confidence by itself; both together hold with at least 1 - 2 * (1 - confidence) (C. E. Bonferroni, 1936).

The candidate edges of an answer are ordered from the most careful one by the logits alone, before labels are used. They
are tested in that order with an exact binomial bound, and the first failure ends the sequence, so every test may use
the full 1 - confidence (fixed-sequence testing: P. Bauer, 1991; for risks: A. Angelopoulos et al., *Learn then Test*,
2021). The guarantee holds for images from the distribution of the calibration images, except those that the gate
discards as unfamiliar; the novelty threshold does not depend on these labels.
"""

import math
import sys
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator
from scipy.special import betaincinv, expit, logit

from gate import Band, Label
from gate.card import Interval
from training.errors import DataError
from training.evaluation.calibrate import Bools, Finding, Floats, Values, clopper_pearson, labelled

# Shares of the images of one answer that the candidates accept: 80 % to 100 % in steps of 0.1 %.
COVERAGES = tuple(round(0.8 + step / 1000, 3) for step in range(201))
# Largest float32 error of a probability in the graph: four steps below 1.
FLOAT32_SLACK = 2.0**-22
MOST_IMAGES = 10**9
ROOM = 1.03  # Safety factor for the number of images that the first candidate accepts.


class LogitBand(Finding):
    """The closed interval of logits that are too uncertain to accept."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"the band must satisfy low <= high, not low {self.low} and high {self.high}")
        return self

    @classmethod
    def from_probability(cls, band: Band) -> Self:
        """Convert a band of probabilities; an edge at 0 or 1 discards that whole side."""
        # JSON has no infinity, and no logit lies beyond the largest float.
        low, high = np.clip(logit([band.low, band.high]), -sys.float_info.max, sys.float_info.max)
        return cls(low=float(low), high=float(high))

    def accepts(self, logits: Floats) -> Bools:
        """Whether each logit, `[N]`, lies outside the band: bool `[N]`."""
        return (logits < self.low) | (logits > self.high)


class TestedBand(Finding):
    """One tested candidate: observed `risk`, and its upper `bound` at the requested confidence.

    `risk` is None if no image is accepted.
    """

    band: LogitBand
    accepted: int
    errors: int
    risk: float | None
    bound: float
    certified: bool


class Guarantee(Finding):
    """With probability `confidence` over the calibration images, at most `target_risk` of the accepted are wrong."""

    target_risk: Annotated[float, Field(gt=0.0, lt=1.0)]
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)]


class RiskCertificate(Guarantee):
    """The narrowest certified band of one answer, and every candidate that was tested.

    `images` of the calibration images get this answer. `accepted`, `errors`, `risk` and `risk_bound` (one-sided, at the
    requested confidence) belong to `band`: the narrowest certified candidate or, if `certified` is not set, the most
    careful one. `images_needed` then estimates the number of images with this answer that certify it; None if no number
    suffices.
    """

    images: int
    certified: bool
    band: LogitBand
    accepted: int
    errors: int
    risk: float | None
    risk_bound: float
    images_needed: int | None
    tested: tuple[TestedBand, ...]


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


def propose_bands(logits: Values, answer: Label, *, coverages: Sequence[float]) -> tuple[LogitBand, ...]:
    """Propose candidates for `certify`, most careful first; the edge of the other answer stays at logit 0.

    Args:
        logits: `[N]` of the images with this answer; labels are not needed.
        answer: the answer to propose edges for.
        coverages: shares of `logits` to accept, in (0, 1]; at 1 only logit 0 itself is discarded.

    Raises:
        DataError: there are no logits, or one is not finite.
    """
    scores = np.asarray(logits, np.float64)
    if not scores.size or not np.isfinite(scores).all():
        raise DataError("proposing bands takes at least one logit, and all must be finite")
    if not all(0.0 < coverage <= 1.0 for coverage in coverages):
        raise ValueError("coverages lie in (0, 1]")
    margins = np.sort(np.abs(scores))
    edges = dict.fromkeys(_edge(margins, coverage) for coverage in sorted(coverages))
    if answer is Label.GLASSES:
        return tuple(LogitBand(low=0.0, high=edge) for edge in edges)
    return tuple(LogitBand(low=-edge, high=0.0) for edge in edges)


def certify(
    logits: Values,
    labels: Values,
    bands: Sequence[LogitBand],
    *,
    target_risk: float = 0.01,
    confidence: float = 0.95,
) -> RiskCertificate:
    """Find the narrowest band whose risk is certified to be at most `target_risk`.

    Args:
        logits: `[N]` of calibration images that were not used for training, without unfamiliar ones.
        labels: `[N]` of 0 and 1.
        bands: candidates, each inside the one before.
        target_risk: see `Guarantee`.
        confidence: see `Guarantee`.

    Raises:
        DataError: there are no images, or a value is not a number.
        ValueError: there are no bands, they are out of order, or the guarantee is invalid.
    """
    scores, glasses = labelled(logits, labels, both=False)
    promise = Guarantee(target_risk=target_risk, confidence=confidence)
    if not bands or any(wide.low > narrow.low or wide.high < narrow.high for wide, narrow in pairwise(bands)):
        raise ValueError("bands are tested from the widest to the narrowest, each inside the one before")
    tested: list[TestedBand] = []
    for band in bands:
        tested.append(_test(promise, band, scores, glasses))
        if not tested[-1].certified:
            break
    shown = next((row for row in reversed(tested) if row.certified), tested[0])
    return RiskCertificate(
        **promise.model_dump(),
        images=len(scores),
        certified=shown.certified,
        band=shown.band,
        accepted=shown.accepted,
        errors=shown.errors,
        risk=shown.risk,
        risk_bound=shown.bound,
        images_needed=None if shown.certified else _images_needed(promise, bands, scores, glasses),
        tested=tuple(tested),
    )


def first_coverage(images: int, *, target_risk: float, confidence: float) -> float:
    """Compute the coverage of the first candidate from the number of images with this answer.

    The sequence ends at its first failure, so it starts where one error is still allowed, or else none; the result lies
    between 0.8 and 1.
    """
    for errors in (1, 0):
        needed = _least_images(errors, target_risk=target_risk, confidence=confidence)
        if needed <= images:
            return max(COVERAGES[0], min(1.0, ROOM * needed / images))
    return COVERAGES[0]


def upper_bound(errors: float, total: float, *, confidence: float) -> float:
    """Clopper and Pearson's one-sided bound on the share that `errors` of `total` were drawn from.

    It is at most r exactly if at most this many errors have a probability of at most 1 - confidence at risk r.
    """
    return float(betaincinv(errors + 1, total - errors, confidence)) if errors < total else 1.0


def probability_band(band: LogitBand) -> Band:
    """Convert to a band of probabilities for the card, rounded outwards.

    Edges have four decimals, more near 0 and 1. The rounding discards slightly more images than certified: it adds no
    error, and raises the error share by at most the share of those images. If float32 cannot distinguish an edge from 0
    or 1, that whole side is discarded.
    """
    # Rounding to 10 decimals removes float noise such as 0.12000000000000001; the slack is far larger.
    return Band(round(1.0 - _rounded_up(-band.low), 10), _rounded_up(band.high))


def selective_risk(logits: Values, labels: Values, band: LogitBand) -> SelectiveRisk:
    """Measure coverage and risk of a band, such as the paper's, on labelled logits.

    Raises:
        DataError: there are no images, or a value is not a number.
    """
    scores, glasses = labelled(logits, labels, both=False)
    keep = band.accepts(scores)
    accepted, errors = int(keep.sum()), int((keep & _wrong(scores, glasses)).sum())
    return SelectiveRisk(
        accepted=accepted,
        errors=errors,
        coverage=clopper_pearson(accepted, len(scores)),
        risk=clopper_pearson(errors, accepted) if accepted else None,
    )


def risk_coverage(logits: Values, labels: Values) -> RiskCoverage:
    """Compute the risk at every coverage of a symmetric band; images of equal |logit| are accepted together.

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


def _edge(margins: Floats, coverage: float) -> float:
    # Rounded, because 1 - 0.8 is slightly below 0.2 as a float. Edges are interpolated between images: with few
    # uncertain images, steps from one image to the next would skip most useful bands.
    discarded = round((1 - coverage) * len(margins), 6)
    return float(np.interp(discarded, np.arange(len(margins) + 1), [0.0, *margins]))


def _wrong(scores: Floats, glasses: Bools) -> Bools:
    wrong: Bools = (scores >= 0) != glasses
    return wrong


def _test(promise: Guarantee, band: LogitBand, scores: Floats, glasses: Bools) -> TestedBand:
    kept = band.accepts(scores)
    accepted, errors = int(kept.sum()), int((kept & _wrong(scores, glasses)).sum())
    bound = upper_bound(errors, accepted, confidence=promise.confidence)
    return TestedBand(
        band=band,
        accepted=accepted,
        errors=errors,
        risk=errors / accepted if accepted else None,
        bound=bound,
        certified=bound <= promise.target_risk,
    )


def _images_needed(promise: Guarantee, bands: Sequence[LogitBand], scores: Floats, glasses: Bools) -> int | None:
    """Estimate the images needed to certify the widest band, or the band of lowest risk if the widest cannot pass."""
    rows = [_test(promise, band, scores, glasses) for band in bands]
    hopeful = [row for row in rows if row.risk is not None and row.risk < promise.target_risk]
    if not hopeful:
        return None
    row = rows[0] if rows[0] in hopeful else min(hopeful, key=lambda one: (one.risk or 0.0, -one.accepted))

    def enough(accepted: int) -> bool:
        errors = row.errors / row.accepted * accepted
        return upper_bound(errors, accepted, confidence=promise.confidence) <= promise.target_risk

    accepted = bisect_left(range(MOST_IMAGES), True, lo=1, key=enough)
    return math.ceil(accepted * len(scores) / row.accepted) if accepted < MOST_IMAGES else None


def _least_images(errors: int, *, target_risk: float, confidence: float) -> int:
    """Return the smallest number of accepted images that certifies the target with so many errors."""
    return bisect_left(
        range(MOST_IMAGES),
        True,
        lo=errors + 1,
        key=lambda accepted: upper_bound(errors, accepted, confidence=confidence) <= target_risk,
    )


def _rounded_up(scaled_logit: float) -> float:
    # Logit 0 is exactly 0.5 in every precision, so this edge needs no slack.
    if scaled_logit == 0:
        return 0.5
    edge = float(expit(scaled_logit)) + FLOAT32_SLACK
    if edge >= 1:
        return 1.0
    decimals = max(4, 2 - math.floor(math.log10(min(edge, 1 - edge))))
    return math.ceil(edge * 10.0**decimals) / 10.0**decimals
