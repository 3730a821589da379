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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gate import Label
from gate.card import TrueClass
from training.evaluation.calibrate import Bools, Floats, Values, exact_interval, labelled
from training.evaluation.candidate_edges import Edges
from training.evaluation.certificate import Certificate, ClassCertificate, Promise, TestedEdge
from training.evaluation.raw_band import SIGNS, RawBand, accepted_as
from training.evaluation.risk_bound import MAX_IMAGES, images_required, upper_bound

CAREFUL = 0.95
"""A sequence that can afford an error starts at or below this share of the images of its label."""


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
    """Find for each label the edge nearest to 0 whose risk is certified to be at most the one of `promise`.

    Args:
        logits: raw, `[N]`, of calibration images not used for training or proposing, without unfamiliar ones.
        labels: `[N]` of 0 and 1.
        edges: candidates of each label, each nearer to 0 than the one before.
        promise: the risk of each label to certify, and the confidence.
        fallback: the paper's band.
        images: calibration images with unfamiliar ones; by default `N`.
        folds: number of networks that scored the images.

    Raises:
        DataError: there are no images, a label is missing, or a value is not a number.
        ValueError: edges are out of order.
    """
    scored = _ScoredImages(*labelled(logits, labels))
    tested = {label: _sequence(label, edges[label], scored, promise) for label in Label}
    band = _band(tested, fallback)
    accepted = band.accepts(scored.logits)
    total = len(scored.logits) if images is None else images
    return Certificate(
        confidence=promise.confidence,
        folds=folds,
        images=total,
        familiar=len(scored.logits),
        band=band,
        accepted=int(accepted.sum()),
        errors=int((accepted & scored.wrong).sum()),
        coverage=exact_interval(int(accepted.sum()), total),
        classes={label: _class(label, tested[label], band, scored, promise) for label in Label},
    )


@dataclass(frozen=True, slots=True)
class _ScoredImages:
    """The familiar calibration images: raw logits and whether each shows glasses, both `[N]`."""

    logits: Floats
    glasses: Bools

    @property
    def wrong(self) -> Bools:
        """Whether the network's label of each image is wrong."""
        wrong: Bools = (self.logits >= 0) != self.glasses
        return wrong

    def of_class(self, label: Label) -> Bools:
        """Whether each image truly belongs to a class."""
        members: Bools = self.glasses == (label is Label.GLASSES)
        return members

    def accepted(self, label: Label, edge: float) -> Bools:
        """Whether each image is accepted with a label."""
        return accepted_as(label, self.logits, edge=edge)

    def test(self, label: Label, edge: float, promise: Promise) -> TestedEdge:
        """Bound the risk of the images accepted with a label, and compare it with the target."""
        kept = self.accepted(label, edge)
        accepted, errors = int(kept.sum()), int((kept & ~self.of_class(label)).sum())
        bound = upper_bound(errors, accepted, confidence=promise.confidence)
        return TestedEdge(
            edge=edge,
            accepted=accepted,
            errors=errors,
            risk=errors / accepted if accepted else None,
            bound=bound,
            certified=bound <= promise.target_risks[label],
        )


def _sequence(label: Label, edges: Sequence[float], scored: _ScoredImages, promise: Promise) -> tuple[TestedEdge, ...]:
    """Test edges until the first failure.

    Raises:
        ValueError: edges are out of order.
    """
    margins = [SIGNS[label] * edge for edge in edges]
    if any(first <= second for first, second in pairwise(margins)) or any(margin < 0 for margin in margins):
        raise ValueError(f"edges of {label} are tested from the most careful one towards 0, on their side of it")
    tested: list[TestedEdge] = []
    for edge in edges[_start(label, edges, scored, promise) :]:
        tested.append(scored.test(label, edge, promise))
        if not tested[-1].certified:
            break
    return tuple(tested)


def _start(label: Label, edges: Sequence[float], scored: _ScoredImages, promise: Promise) -> int:
    """Choose the first edge to test: one that leaves room for an error if possible, else one that can pass at all.

    The choice uses no labels, so it does not affect the promise.
    """
    counts = [int(scored.accepted(label, edge).sum()) for edge in edges]
    everything = int(scored.accepted(label, 0.0).sum())
    careful = [index for index, count in enumerate(counts) if count <= CAREFUL * everything]
    terms = {"target_risk": promise.target_risks[label], "confidence": promise.confidence}
    roomy, bare = (images_required(0.0, errors=errors, **terms) or MAX_IMAGES for errors in (1, 0))
    comfortable = (index for index in careful if counts[index] >= roomy)
    possible = (index for index, count in enumerate(counts) if count >= bare)
    return next(comfortable, next(possible, max(careful, default=0)))


def _band(tested: Mapping[Label, Sequence[TestedEdge]], fallback: RawBand) -> RawBand:
    """Choose the last edge of each label that passed; without one, the more careful of its first and the paper's."""
    passed = {label: [test.edge for test in tests if test.certified] for label, tests in tested.items()}
    if not any(passed.values()):
        return fallback
    chosen = {}
    for label, sign in SIGNS.items():
        careful = [fallback.edge(label), *(test.edge for test in tested[label][:1])]
        chosen[label] = passed[label][-1] if passed[label] else max(careful, key=lambda edge: sign * edge)
    return RawBand(low=chosen[Label.NO_GLASSES], high=chosen[Label.GLASSES])


def _class(
    label: Label, tested: tuple[TestedEdge, ...], band: RawBand, scored: _ScoredImages, promise: Promise
) -> ClassCertificate:
    in_use = scored.test(label, band.edge(label), promise)
    faces = scored.of_class(label)
    certified = any(test.certified for test in tested)
    first = tested[0] if tested else in_use
    return ClassCertificate(
        target_risk=promise.target_risks[label],
        certified=certified,
        edge=in_use.edge,
        accepted=in_use.accepted,
        errors=in_use.errors,
        risk=in_use.risk,
        risk_bound=in_use.bound,
        images_needed=None if certified else _more_faces(label, first, int(faces.sum()), promise),
        true_class=_true_class(band.accepts(scored.logits) & faces, scored.wrong, promise.confidence),
        tested=tested,
    )


def _true_class(accepted: Bools, wrong: Bools, confidence: float) -> TrueClass:
    """Bound the share of wrong labels among the accepted faces of a class, bool `[N]`."""
    faces, errors = int(accepted.sum()), int((accepted & wrong).sum())
    return TrueClass(accepted=faces, errors=errors, bound=upper_bound(errors, faces, confidence=confidence))


def _more_faces(label: Label, test: TestedEdge, faces: int, promise: Promise) -> int | None:
    """Estimate the further faces of a class, at the observed risk and at the observed share that is accepted."""
    if test.risk is None:
        return None
    required = images_required(test.risk, target_risk=promise.target_risks[label], confidence=promise.confidence)
    if required is None:
        return None
    return max(1, math.ceil((required - test.accepted) * faces / test.accepted))
