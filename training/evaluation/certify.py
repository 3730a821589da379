"""Certify each edge of the band: bound the share of wrong labels among the images accepted with each label.

Images accepted as `glasses` lie above the upper edge, those accepted as `no_glasses` below the lower edge. For each
label, candidate edges are ordered, most careful first, by the logits of another split, before the calibration labels
are used. They are tested in that order with an exact binomial bound, and the first failure ends the sequence, so every
test may use the full 1 - confidence (fixed-sequence testing: P. Bauer, 1991; for risks: A. Angelopoulos et al., *Learn
then Test*, 2021). The number of accepted images, which is known without labels, decides where a sequence starts.

Each label's promise holds with the confidence by itself; both hold together with at least 1 - 2 (1 - confidence) (C. E.
Bonferroni, 1936). The share of wrong labels among the images accepted with a label depends on the share of glasses
among all images, so the promise is for images like those of the calibration split, except those that the gate discards
as unfamiliar; the novelty threshold does not depend on these labels. `class_shares` computes bounds for other shares.

Edges are raw logits, before temperature scaling, because the temperature is fitted to the same labels.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated

import numpy as np
from pydantic import Field
from scipy.special import betaincinv

from gate import Band, Label
from gate.card import Interval, TrueClass
from training.errors import DataError
from training.evaluation.calibrate import Bools, Finding, Floats, Values, exact_interval, labelled
from training.evaluation.raw_band import RawBand, probability_band

# Shares of the proposing split's images of a label that the candidates accept: 80 % to 100 % in steps of 0.1 %.
COVERAGES = tuple(round(0.8 + step / 1000, 3) for step in range(201))
CAREFUL = 0.95
"""A sequence that can afford an error starts at or below this share of the images of its label."""
MAX_IMAGES = 10**9
SIGNS = {Label.GLASSES: 1.0, Label.NO_GLASSES: -1.0}
"""A logit times the sign of a label is its margin: it grows with the certainty of that label."""

Risk = Annotated[float, Field(gt=0.0, lt=1.0)]
Edges = Mapping[Label, Sequence[float]]


class Promise(Finding):
    """Of the images accepted with a label at most `target_risks[label]` are wrong, at `confidence` for each label."""

    target_risks: dict[Label, Risk]
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)]

    @classmethod
    def equal(cls, target_risk: float, confidence: float = 0.95) -> "Promise":
        """Promise the same for both labels."""
        return cls(target_risks=dict.fromkeys(Label, target_risk), confidence=confidence)


class TestedEdge(Finding):
    """One tested candidate: observed `risk`, None if no image is accepted, and its upper `bound`."""

    edge: float
    accepted: int
    errors: int
    risk: float | None
    bound: float
    certified: bool


class ClassCertificate(Finding):
    """The certificate of one label.

    `accepted`, `errors`, `risk` and `risk_bound` belong to its `edge` in use: the certified one, which is the last of
    `tested` that passed, or a careful one. `images_needed` estimates the further labelled faces of the class outside
    the training split that a certificate takes; None if no number suffices. `true_class` counts the accepted faces that
    truly belong to the class.
    """

    target_risk: float
    certified: bool
    edge: float
    accepted: int
    errors: int
    risk: float | None
    risk_bound: float
    images_needed: int | None
    true_class: TrueClass
    tested: tuple[TestedEdge, ...]


class Certificate(Finding):
    """The band in use, with the certificate of each label.

    A label that cannot be certified keeps the first edge of its sequence, or the paper's if that is more careful. If
    neither label can be certified, the band is the paper's. `images` is the number of calibration images, of which
    `familiar` ones are counted; `coverage` is the accepted share of `images` with its exact 95 % interval. `folds` is
    the number of networks that scored the images.
    """

    confidence: float
    folds: int
    images: int
    familiar: int
    band: RawBand
    accepted: int
    errors: int
    coverage: Interval
    classes: dict[Label, ClassCertificate]

    @property
    def certified(self) -> bool:
        """Whether at least one label is certified."""
        return any(one.certified for one in self.classes.values())

    @property
    def target_risk(self) -> float | None:
        """The largest error share among all accepted images, at any share of glasses; None unless both are certified.

        It holds with at least 1 - 2 (1 - confidence).
        """
        return max(one.target_risk for one in self.classes.values()) if self.complete else None

    @property
    def complete(self) -> bool:
        """Whether both labels are certified."""
        return all(one.certified for one in self.classes.values())

    def served_band(self, temperature: float) -> Band:
        """Return the band of the card, in probabilities: the paper's as it is if no label is certified."""
        return probability_band(self.band, temperature) if self.certified else Band()


def propose_edges(logits: Values, *, coverages: Sequence[float] = COVERAGES) -> dict[Label, tuple[float, ...]]:
    """Propose candidates for `certify`, most careful first: for each label raw logits on its side of 0.

    A label that no image has gets no candidates.

    Args:
        logits: raw, `[N]`, of a split whose labels `certify` does not use; labels are not needed.
        coverages: shares of the images of each label to accept, in (0, 1]; at 1 only logit 0 itself is discarded.

    Raises:
        DataError: there are no logits, or one is not finite.
        ValueError: a coverage is not in (0, 1].
    """
    scores = np.asarray(logits, np.float64)
    if not scores.size or not np.isfinite(scores).all():
        raise DataError("proposing a band takes at least one logit, and all must be finite")
    if not all(0.0 < coverage <= 1.0 for coverage in coverages):
        raise ValueError("coverages lie in (0, 1]")
    sides = {Label.GLASSES: scores[scores >= 0], Label.NO_GLASSES: -scores[scores < 0]}
    return {
        label: tuple(
            dict.fromkeys(SIGNS[label] * _edge(np.sort(margins), coverage) for coverage in sorted(coverages))
            if len(margins)
            else ()
        )
        for label, margins in sides.items()
    }


def up_to(edges: Edges, band: RawBand) -> dict[Label, tuple[float, ...]]:
    """End each sequence at the edge of `band`, so that the certified band contains it.

    The share of errors among many easy images can meet the target although the least certain ones are often wrong.
    """
    last = {Label.GLASSES: band.high, Label.NO_GLASSES: band.low}
    return {
        label: (*(edge for edge in edges[label] if SIGNS[label] * (edge - last[label]) > 0), last[label])
        for label in Label
    }


def certify(
    logits: Values,
    labels: Values,
    edges: Edges,
    *,
    promise: Promise,
    fallback: RawBand,
    images: int | None = None,
    folds: int = 1,
) -> Certificate:
    """Find for each label the edge nearest to 0 whose risk is certified to be at most the target risk.

    Args:
        logits: raw, `[N]`, of calibration images not used for training or proposing, without unfamiliar ones.
        labels: `[N]` of 0 and 1.
        edges: candidates of each label, each nearer to 0 than the one before.
        promise: see `Promise`.
        fallback: the paper's band.
        images: calibration images with unfamiliar ones; by default `N`.
        folds: number of networks that scored the images.

    Raises:
        DataError: there are no images, a label is missing, or a value is not a number.
        ValueError: edges are out of order.
    """
    scores, glasses = labelled(logits, labels)
    tested = {label: _sequence(label, edges[label], scores, glasses, promise) for label in Label}
    band = _band(tested, fallback)
    kept = band.accepts(scores)
    wrong = kept & ((scores >= 0) != glasses)
    total = len(scores) if images is None else images
    return Certificate(
        confidence=promise.confidence,
        folds=folds,
        images=total,
        familiar=len(scores),
        band=band,
        accepted=int(kept.sum()),
        errors=int(wrong.sum()),
        coverage=exact_interval(int(kept.sum()), total),
        classes={
            label: _class(label, tested[label], band=band, scores=scores, glasses=glasses, promise=promise)
            for label in Label
        },
    )


def upper_bound(errors: float, total: float, *, confidence: float) -> float:
    """Clopper and Pearson's one-sided bound on the share that `errors` of `total` were drawn from.

    It is at most r exactly if at most this many errors have a probability of at most 1 - confidence at risk r.
    """
    return float(betaincinv(errors + 1, total - errors, confidence)) if errors < total else 1.0


def images_required(risk: float, *, target_risk: float, confidence: float, errors: int = 0) -> int | None:
    """Compute the accepted images whose bound meets the target, with this many errors and this further `risk`.

    None if no number suffices. For 1 % at 95 %: 299 without an error, 473 with one.
    """
    if risk >= target_risk:
        return None

    def enough(accepted: int) -> bool:
        return upper_bound(errors + risk * accepted, accepted, confidence=confidence) <= target_risk

    found = bisect_left(range(MAX_IMAGES), True, lo=1, key=enough)
    return found if found < MAX_IMAGES else None


def _edge(margins: Floats, coverage: float) -> float:
    # Rounded, because 1 - 0.8 is slightly below 0.2 as a float. Edges are interpolated between images: with few
    # uncertain images, steps from one image to the next would skip most useful edges.
    discarded = round((1 - coverage) * len(margins), 6)
    return float(np.interp(discarded, np.arange(len(margins) + 1), [0.0, *margins]))


def _accepted(label: Label, edge: float, scores: Floats) -> Bools:
    kept: Bools = SIGNS[label] * scores > SIGNS[label] * edge
    return kept


def _sequence(
    label: Label, edges: Sequence[float], scores: Floats, glasses: Bools, promise: Promise
) -> tuple[TestedEdge, ...]:
    margins = [SIGNS[label] * edge for edge in edges]
    if any(first <= second for first, second in pairwise(margins)) or any(margin < 0 for margin in margins):
        raise ValueError(f"edges of {label} are tested from the most careful one towards 0, on their side of it")
    wrong = glasses != (label is Label.GLASSES)
    tested: list[TestedEdge] = []
    for edge in edges[_start(label, edges, scores, promise) :]:
        tested.append(_test(edge, _accepted(label, edge, scores), wrong, promise.target_risks[label], promise))
        if not tested[-1].certified:
            break
    return tuple(tested)


def _start(label: Label, edges: Sequence[float], scores: Floats, promise: Promise) -> int:
    """Choose the first edge to test: one that leaves room for an error if possible, else one that can pass at all.

    The choice uses no labels, so it does not affect the promise.
    """
    counts = [int(_accepted(label, edge, scores).sum()) for edge in edges]
    everything = int(_accepted(label, 0.0, scores).sum())
    careful = [index for index, count in enumerate(counts) if count <= CAREFUL * everything]
    terms = {"target_risk": promise.target_risks[label], "confidence": promise.confidence}
    roomy, bare = (images_required(0.0, errors=errors, **terms) or MAX_IMAGES for errors in (1, 0))
    comfortable = (index for index in careful if counts[index] >= roomy)
    possible = (index for index, count in enumerate(counts) if count >= bare)
    return next(comfortable, next(possible, max(careful, default=0)))


def _test(edge: float, kept: Bools, wrong: Bools, target_risk: float, promise: Promise) -> TestedEdge:
    accepted, errors = int(kept.sum()), int((kept & wrong).sum())
    bound = upper_bound(errors, accepted, confidence=promise.confidence)
    return TestedEdge(
        edge=edge,
        accepted=accepted,
        errors=errors,
        risk=errors / accepted if accepted else None,
        bound=bound,
        certified=bound <= target_risk,
    )


def _band(tested: Mapping[Label, Sequence[TestedEdge]], fallback: RawBand) -> RawBand:
    passed = {label: [row.edge for row in rows if row.certified] for label, rows in tested.items()}
    if not any(passed.values()):
        return fallback
    papers = {Label.GLASSES: fallback.high, Label.NO_GLASSES: fallback.low}
    chosen = {}
    for label, sign in SIGNS.items():
        careful = [papers[label], *(row.edge for row in tested[label][:1])]
        chosen[label] = passed[label][-1] if passed[label] else max(careful, key=lambda edge: sign * edge)
    return RawBand(low=chosen[Label.NO_GLASSES], high=chosen[Label.GLASSES])


def _class(
    label: Label,
    tested: tuple[TestedEdge, ...],
    *,
    band: RawBand,
    scores: Floats,
    glasses: Bools,
    promise: Promise,
) -> ClassCertificate:
    edge = band.high if label is Label.GLASSES else band.low
    truly = glasses == (label is Label.GLASSES)
    target = promise.target_risks[label]
    shown = _test(edge, _accepted(label, edge, scores), ~truly, target, promise)
    certified = any(row.certified for row in tested)
    kept = band.accepts(scores) & truly
    missed = int((kept & ~_accepted(label, edge, scores)).sum())
    first = tested[0] if tested else shown
    needed = None if certified else _more_faces(first, int(truly.sum()), target, promise.confidence)
    return ClassCertificate(
        target_risk=target,
        certified=certified,
        edge=edge,
        accepted=shown.accepted,
        errors=shown.errors,
        risk=shown.risk,
        risk_bound=shown.bound,
        images_needed=needed,
        true_class=TrueClass(
            accepted=int(kept.sum()),
            errors=missed,
            bound=upper_bound(missed, int(kept.sum()), confidence=promise.confidence),
        ),
        tested=tested,
    )


def _more_faces(shown: TestedEdge, faces: int, target_risk: float, confidence: float) -> int | None:
    """Estimate the further faces of a class, at the observed risk and at the observed share that is accepted."""
    if shown.risk is None:
        return None
    required = images_required(shown.risk, target_risk=target_risk, confidence=confidence)
    if required is None:
        return None
    return max(1, math.ceil((required - shown.accepted) * faces / shown.accepted))
