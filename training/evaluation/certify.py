"""Certify the band of uncertainty: bound the share of wrong labels among the accepted images.

Candidate bands are ordered, widest first, by the logits of another split, before the calibration labels are used. They
are tested in that order with an exact binomial bound, and the first failure ends the sequence, so every test may use
the full 1 - confidence (fixed-sequence testing: P. Bauer, 1991; for risks: A. Angelopoulos et al., *Learn then Test*,
2021).

Bands are defined on raw logits, before temperature scaling, because the temperature is fitted to the same labels. The
guarantee holds for images from the distribution of the calibration images, except those that the gate discards as
unfamiliar; the novelty threshold does not depend on these labels.
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

from gate import Band
from gate.card import Interval
from training.errors import DataError
from training.evaluation.calibrate import Bools, Finding, Floats, Values, clopper_pearson, labelled

# Shares of the proposing split that the candidates accept: 80 % to 100 % in steps of 0.1 %.
COVERAGES = tuple(round(0.8 + step / 1000, 3) for step in range(201))
# Largest float32 error of a probability in the graph: four steps below 1.
FLOAT32_SLACK = 2.0**-22
MOST_IMAGES = 10**9


class RawBand(Finding):
    """The closed interval of raw logits that are too uncertain to accept."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"the band must satisfy low <= high, not low {self.low} and high {self.high}")
        return self

    @classmethod
    def from_probability(cls, band: Band, temperature: float) -> Self:
        """Convert a band of probabilities; an edge at 0 or 1 discards that whole side."""
        # JSON has no infinity, and no logit lies beyond the largest float.
        low, high = np.clip(logit([band.low, band.high]) * temperature, -sys.float_info.max, sys.float_info.max)
        return cls(low=float(low), high=float(high))

    def accepts(self, logits: Floats) -> Bools:
        """Whether each raw logit, `[N]`, lies outside the band: bool `[N]`."""
        return (logits < self.low) | (logits > self.high)


class TestedBand(Finding):
    """One tested candidate: observed `risk`, and its upper `bound` at the requested confidence.

    `false_glasses` counts the `errors` with a wrong `glasses`; `risk` is None if no image is accepted.
    """

    band: RawBand
    accepted: int
    errors: int
    false_glasses: int
    risk: float | None
    bound: float
    certified: bool


class Guarantee(Finding):
    """With probability `confidence` over the calibration images, the risk is at most `target_risk`.

    The risk is the mean cost of an accepted image, where a wrong `no_glasses` costs 1 and a wrong `glasses` costs
    `cost_ratio`; where that is 1 the risk is the share of errors.
    """

    target_risk: Annotated[float, Field(gt=0.0)]
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)]
    cost_ratio: Annotated[float, Field(gt=0.0)]


class RiskCertificate(Guarantee):
    """The narrowest certified band, and every candidate that was tested.

    `accepted`, `errors`, `coverage` (exact 95 % interval), `risk` and `risk_bound` (one-sided, at the requested
    confidence) belong to `band` or, if no band is certified, to the widest candidate. `images_needed` then estimates
    the number of new labelled images to certify it; None if no number suffices.
    """

    images: int
    certified: bool
    band: RawBand | None
    accepted: int
    errors: int
    coverage: Interval
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


def propose_bands(
    logits: Values, *, cost_ratio: float = 1.0, coverages: Sequence[float] = COVERAGES
) -> tuple[RawBand, ...]:
    """Propose candidates for `certify`, widest first; each contains logit 0, where the label changes.

    The upper edge is log(cost_ratio) farther from 0 than the lower edge. The expected cost of accepting an image is
    about exp(-distance) times the cost of its error (C. K. Chow's rule, 1970), so it is equal at both edges.

    Args:
        logits: raw, `[N]`, of a split that `certify` will not see; labels are not needed.
        cost_ratio: cost of a wrong `glasses` in units of the cost of a wrong `no_glasses`.
        coverages: shares of `logits` to accept, in (0, 1]; at 1 only logit 0 itself is discarded. The smallest must
            leave enough calibration images: to certify 1 % takes 299 accepted without an error, 473 with one.

    Raises:
        DataError: there are no logits, or one is not finite.
    """
    scores = np.asarray(logits, np.float64)
    if not scores.size or not np.isfinite(scores).all():
        raise DataError("proposing bands takes at least one logit, and all must be finite")
    if not all(0.0 < coverage <= 1.0 for coverage in coverages):
        raise ValueError("coverages lie in (0, 1]")
    shift = math.log(cost_ratio)
    margins = np.sort(np.where(scores >= 0, scores - shift, -scores))
    return tuple(dict.fromkeys(_proposed(margins, coverage, shift) for coverage in sorted(coverages)))


def certify(
    logits: Values,
    labels: Values,
    bands: Sequence[RawBand],
    *,
    target_risk: float = 0.01,
    confidence: float = 0.95,
    cost_ratio: float = 1.0,
) -> RiskCertificate:
    """Find the narrowest band whose risk is certified to be at most `target_risk`.

    Args:
        logits: raw, `[N]`, of calibration images not used for training or proposing, without unfamiliar ones.
        labels: `[N]` of 0 and 1.
        bands: candidates, each inside the one before.
        target_risk: see `Guarantee`.
        confidence: see `Guarantee`.
        cost_ratio: see `Guarantee`.

    Raises:
        DataError: there are no images, a label is missing, or a value is not a number.
        ValueError: there are no bands, they are out of order, or the guarantee is invalid.
    """
    scores, glasses = labelled(logits, labels)
    promise = Guarantee(target_risk=target_risk, confidence=confidence, cost_ratio=cost_ratio)
    if not bands or any(wide.low > narrow.low or wide.high < narrow.high for wide, narrow in pairwise(bands)):
        raise ValueError("bands are tested from the widest to the narrowest, each inside the one before")
    tested: list[TestedBand] = []
    for band in bands:
        tested.append(_test(promise, band, scores, glasses))
        if not tested[-1].certified:
            break
    shown = next((row for row in reversed(tested) if row.certified), tested[0])
    needed = None if shown.certified else _images_needed(promise, bands, scores, glasses)
    return RiskCertificate(
        **promise.model_dump(),
        images=len(scores),
        certified=shown.certified,
        band=shown.band if shown.certified else None,
        accepted=shown.accepted,
        errors=shown.errors,
        coverage=clopper_pearson(shown.accepted, len(scores)),
        risk=shown.risk,
        risk_bound=shown.bound,
        images_needed=needed,
        tested=tuple(tested),
    )


def upper_bound(errors: float, total: float, *, confidence: float) -> float:
    """Clopper and Pearson's one-sided bound on the share that `errors` of `total` were drawn from.

    It is at most r exactly if at most this many errors have a probability of at most 1 - confidence at risk r.
    """
    return float(betaincinv(errors + 1, total - errors, confidence)) if errors < total else 1.0


def probability_band(raw: RawBand, temperature: float) -> Band:
    """Convert to a band of probabilities for the card, rounded outwards.

    Edges have four decimals, more near 0 and 1. The rounding discards slightly more images than certified: it adds no
    error, and raises the error share by at most the share of those images. If float32 cannot distinguish an edge from 0
    or 1, that whole side is discarded.
    """
    # Rounding to 10 decimals removes float noise such as 0.12000000000000001; the slack is far larger.
    return Band(round(1.0 - _rounded_up(-raw.low / temperature), 10), _rounded_up(raw.high / temperature))


def selective_risk(logits: Values, labels: Values, raw_band: RawBand) -> SelectiveRisk:
    """Measure coverage and risk of a band, such as the paper's, on labelled raw logits.

    Raises:
        DataError: there are no images, or a value is not a number.
    """
    scores, glasses = labelled(logits, labels, both=False)
    keep = raw_band.accepts(scores)
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


def describe(certificate: RiskCertificate, *, temperature: float | None = None) -> str:
    """Describe a certificate in one or two sentences; with `temperature` its band is in probabilities."""
    sure = f"with confidence {certificate.confidence:g}"
    target = _amount(certificate, certificate.target_risk)
    counts = f"{certificate.accepted} of {certificate.images}, {certificate.errors} wrong"
    if certificate.band is None:
        return (
            f"No band can be certified at {target} {sure}: the bound of the widest band ({counts}) is "
            f"{_amount(certificate, certificate.risk_bound)}, and {_remedy(certificate)}; the paper's band is used."
        )
    promised = (
        f"at most {target} of the accepted images are labelled wrongly"
        if certificate.cost_ratio == 1
        else f"accepted images have at most {target}, a wrong glasses costing {certificate.cost_ratio:g}"
    )
    share = f"{100 * certificate.coverage.value:.1f} %"
    return f"{sure.capitalize()} {promised}: {_band_text(certificate.band, temperature)} accepts {share} ({counts})."


def _amount(promise: Guarantee, risk: float) -> str:
    return f"{100 * risk:.3g} %" if promise.cost_ratio == 1 else f"a mean cost of {risk:.3g}"


def _remedy(certificate: RiskCertificate) -> str:
    if certificate.images_needed is None:
        return "more images would not help, because no band has a lower observed risk"
    return f"certifying it needs about {certificate.images_needed} new labelled images"


def _band_text(raw: RawBand, temperature: float | None) -> str:
    if temperature is None:
        return f"the band of raw logits [{raw.low:.2f}, {raw.high:.2f}]"
    band = probability_band(raw, temperature)
    return f"band [{band.low}, {band.high}]"


def _proposed(margins: Floats, coverage: float, shift: float) -> RawBand:
    # Rounded, because 1 - 0.8 is slightly below 0.2 as a float. Edges are interpolated between images: with few
    # uncertain images, steps from one image to the next would skip most useful bands.
    discarded = round((1 - coverage) * len(margins), 6)
    edge = float(np.interp(discarded, np.arange(len(margins) + 1), [min(0.0, -shift), *margins]))
    return RawBand(low=min(0.0, -edge), high=max(0.0, edge + shift))


def _wrong(scores: Floats, glasses: Bools) -> Bools:
    wrong: Bools = (scores >= 0) != glasses
    return wrong


def _test(promise: Guarantee, band: RawBand, scores: Floats, glasses: Bools) -> TestedBand:
    kept = band.accepts(scores)
    wrong = kept & _wrong(scores, glasses)
    accepted, errors, false = int(kept.sum()), int(wrong.sum()), int((wrong & ~glasses).sum())
    bound = _bound(promise, errors - false, false, accepted)
    return TestedBand(
        band=band,
        accepted=accepted,
        errors=errors,
        false_glasses=false,
        risk=(errors - false + promise.cost_ratio * false) / accepted if accepted else None,
        bound=bound,
        certified=bound <= promise.target_risk,
    )


def _bound(promise: Guarantee, missed: float, false: float, accepted: float) -> float:
    if promise.cost_ratio == 1:
        return upper_bound(missed + false, accepted, confidence=promise.confidence)
    # Two shares are bounded at once, so each gets half the error probability (C. E. Bonferroni, 1936).
    each = (1 + promise.confidence) / 2
    bounds = [upper_bound(errors, accepted, confidence=each) for errors in (missed, false)]
    return bounds[0] + promise.cost_ratio * bounds[1]


def _images_needed(promise: Guarantee, bands: Sequence[RawBand], scores: Floats, glasses: Bools) -> int | None:
    """Estimate the images needed to certify the widest band, or the band of lowest risk if the widest cannot pass."""
    rows = [_test(promise, band, scores, glasses) for band in bands]
    hopeful = [row for row in rows if row.risk is not None and row.risk < promise.target_risk]
    if not hopeful:
        return None
    row = rows[0] if rows[0] in hopeful else min(hopeful, key=lambda one: (one.risk or 0.0, -one.accepted))
    missed, false = (row.errors - row.false_glasses) / row.accepted, row.false_glasses / row.accepted

    def enough(accepted: int) -> bool:
        return _bound(promise, missed * accepted, false * accepted, accepted) <= promise.target_risk

    accepted = bisect_left(range(MOST_IMAGES), True, lo=1, key=enough)
    return math.ceil(accepted * len(scores) / row.accepted) if accepted < MOST_IMAGES else None


def _rounded_up(scaled_logit: float) -> float:
    # Logit 0 is exactly 0.5 in every precision, so this edge needs no slack.
    if scaled_logit == 0:
        return 0.5
    edge = float(expit(scaled_logit)) + FLOAT32_SLACK
    if edge >= 1:
        return 1.0
    decimals = max(4, 2 - math.floor(math.log10(min(edge, 1 - edge))))
    return math.ceil(edge * 10.0**decimals) / 10.0**decimals
