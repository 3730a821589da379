"""The band of uncertainty that keeps a promise: of the images accepted, at most so many labelled wrongly.

Candidates are put in order, widest first, by logits of another split, before the calibration labels are seen. Each is
tested in turn with an exact binomial bound, and the first that fails ends the sequence, so every test may use the whole
1 - confidence (fixed-sequence testing: P. Bauer, 1991; for risks: A. Angelopoulos et al., *Learn then Test*, 2021).

Bands are on the raw logits, before any temperature, because the temperature is fitted to the same labels. What is
promised holds for images drawn as the calibration images were, less those that the gate discards as unfamiliar by a
threshold that did not see these labels.
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

# Shares of the proposing split that the candidates accept: from 80 % on in steps of a tenth of a per cent.
COVERAGES = tuple(round(0.8 + step / 1000, 3) for step in range(201))
# How far the graph's float32 may put a probability from the exact one: four steps below 1.
FLOAT32_SLACK = 2.0**-22
MOST_IMAGES = 10**9


class RawBand(Finding):
    """The raw logits, edges included as in `gate.Band`, that are too uncertain to keep."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"the band must satisfy low <= high, not low {self.low} and high {self.high}")
        return self

    @classmethod
    def from_probability(cls, band: Band, temperature: float) -> Self:
        """The raw logits of a band of probabilities; an edge at 0 or 1 leaves nothing on its side to accept."""
        # JSON knows no infinity, and no logit lies beyond the largest float.
        low, high = np.clip(logit([band.low, band.high]) * temperature, -sys.float_info.max, sys.float_info.max)
        return cls(low=float(low), high=float(high))

    def accepts(self, logits: Floats) -> Bools:
        """Whether each raw logit, `[N]`, lies outside: bool `[N]`."""
        return (logits < self.low) | (logits > self.high)


class TestedBand(Finding):
    """One row of the sequence. `risk` is what was observed, `bound` what it is below with the confidence asked for.

    `false_glasses` counts the `errors` that are a wrong `glasses`; where nothing is accepted there is no `risk`.
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
    """The narrowest band that keeps the promise, and all that was tested on the way to it.

    `accepted`, `errors`, `risk` and `risk_bound` (one-sided, at the promise's confidence) are those of `band` or, where
    none is certified, of the widest candidate; so is `coverage`, with its exact 95 % interval. `images_needed` is how
    many fresh labelled images it would take then, or None where no number would do.
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
    """What one band does on labelled images, with exact 95 % intervals; without accepted images there is no risk."""

    accepted: int
    errors: int
    coverage: Interval
    risk: Interval | None


class RiskCoverage(Finding):
    """The error among the surest images against their share, surest first; `area` is its mean over coverage (AURC)."""

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    area: float


def propose_bands(
    logits: Values, *, cost_ratio: float = 1.0, coverages: Sequence[float] = COVERAGES
) -> tuple[RawBand, ...]:
    """Candidates for `certify`, widest first, each holding logit 0, where the label changes.

    The upper edge lies log(cost_ratio) farther from 0 than the lower one, since an image that far out costs about
    exp(-distance) times the cost of its error (C. K. Chow's rule, 1970): on either edge accepting costs the same.

    Args:
        logits: raw, `[N]`, of a split that `certify` will not see; labels are not needed.
        cost_ratio: what a wrong `glasses` costs, where a wrong `no_glasses` costs 1.
        coverages: shares of `logits` to accept, in (0, 1]; at 1 only logit 0 itself is discarded. The smallest must
            leave enough calibration images: to certify 1 % takes 299 accepted without an error, 473 with one.

    Raises:
        DataError: there are no logits, or one is not a number.
    """
    scores = np.asarray(logits, np.float64)
    if not scores.size or not np.isfinite(scores).all():
        raise DataError("bands are proposed from logits, at least one and all finite")
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
    """Find the narrowest band that can be promised to keep the risk at or below `target_risk`.

    Args:
        logits: raw, `[N]`, of calibration images that nothing was learned or proposed from, unfamiliar ones left out.
        labels: `[N]` of 0 and 1.
        bands: candidates, each inside the one before.
        target_risk: see `Guarantee`.
        confidence: see `Guarantee`.
        cost_ratio: see `Guarantee`.

    Raises:
        DataError: there are no images, one of the labels is missing, or something is not a number.
        ValueError: there are no bands, or they are out of order; or the promise itself makes no sense.
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

    It is at most r exactly where that many errors or fewer have a probability of at most 1 - confidence under r.
    """
    return float(betaincinv(errors + 1, total - errors, confidence)) if errors < total else 1.0


def probability_band(raw: RawBand, temperature: float) -> Band:
    """The band of probabilities for a card, rounded outwards: what is certified to be discarded is discarded.

    Edges have four decimals, more near 0 and 1 where those would be coarse. The sliver up to the rounded edge is
    discarded beyond what was certified: that adds no error, and raises their share by no more than the sliver's. Where
    float32 cannot tell an edge from 0 or 1, all on that side is discarded.
    """
    # The difference is rounded only to read 0.12 and not 0.12 and a bit; the slack is a thousand times that.
    return Band(round(1.0 - _rounded_up(-raw.low / temperature), 10), _rounded_up(raw.high / temperature))


def selective_risk(logits: Values, labels: Values, raw_band: RawBand) -> SelectiveRisk:
    """What a band, such as the paper's by `RawBand.from_probability`, does on labelled raw logits.

    Raises:
        DataError: there are no images, or something is not a number.
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
    """The risk at every coverage that a symmetric band can have; images of one |logit| are accepted together.

    Raises:
        DataError: there are no images, or something is not a number.
    """
    scores, glasses = labelled(logits, labels, both=False)
    order = np.argsort(-np.abs(scores))
    ends = np.flatnonzero(np.diff(np.abs(scores)[order], append=-1.0)) + 1
    coverage = ends / len(scores)
    risk = np.cumsum(_wrong(scores, glasses)[order])[ends - 1] / ends
    area = float((np.diff(coverage, prepend=0.0) * risk).sum())
    return RiskCoverage(coverage=tuple(coverage.tolist()), risk=tuple(risk.tolist()), area=area)


def describe(certificate: RiskCertificate, *, temperature: float | None = None) -> str:
    """A certificate in a sentence or two; with the temperature its band is in probabilities."""
    sure = f"with confidence {certificate.confidence:g}"
    target = _amount(certificate, certificate.target_risk)
    counts = f"{certificate.accepted} of {certificate.images}, {certificate.errors} wrong"
    if certificate.band is None:
        return (
            f"Nothing can be certified at {target} {sure}: the widest band ({counts}) bounds it only at "
            f"{_amount(certificate, certificate.risk_bound)}, and {_remedy(certificate)}; the paper's band stays."
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
        return "no number of images would do, as no band was seen to stay below it"
    return f"it would take about {certificate.images_needed} fresh labelled images"


def _band_text(raw: RawBand, temperature: float | None) -> str:
    if temperature is None:
        return f"the band of raw logits [{raw.low:.2f}, {raw.high:.2f}]"
    band = probability_band(raw, temperature)
    return f"band [{band.low}, {band.high}]"


def _proposed(margins: Floats, coverage: float, shift: float) -> RawBand:
    # Rounded, as 1 - 0.8 is a float a little below 0.2. Between two images the edge is interpolated: where few are
    # unsure, a step from one to the next would leave out most bands worth trying.
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
    # Two shares are bounded at once, so each may fail half as often (C. E. Bonferroni, 1936).
    each = (1 + promise.confidence) / 2
    bounds = [upper_bound(errors, accepted, confidence=each) for errors in (missed, false)]
    return bounds[0] + promise.cost_ratio * bounds[1]


def _images_needed(promise: Guarantee, bands: Sequence[RawBand], scores: Floats, glasses: Bools) -> int | None:
    """How many images like these the widest band would need, or the one of least risk if that one is hopeless."""
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
    # Logit 0 is exactly 0.5 in every precision, and a band may end there.
    if scaled_logit == 0:
        return 0.5
    edge = float(expit(scaled_logit)) + FLOAT32_SLACK
    if edge >= 1:
        return 1.0
    decimals = max(4, 2 - math.floor(math.log10(min(edge, 1 - edge))))
    return math.ceil(edge * 10.0**decimals) / 10.0**decimals
