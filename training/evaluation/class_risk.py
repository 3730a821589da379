"""The certificate of each answer, and its meaning for other shares of faces with glasses."""

from typing import Self

from scipy.special import betaincinv

from gate import Label
from gate.card import Interval
from training.evaluation.calibrate import Bools, Finding, Floats, clopper_pearson
from training.evaluation.certify import (
    COVERAGES,
    LogitBand,
    RiskCertificate,
    certify,
    first_coverage,
    propose_bands,
    upper_bound,
)

SHARES = (0.135, 0.635)
"""Shares of faces with glasses to state the bounds for: about those of FFHQ, and of the paper's data."""


class RiskAtShare(Finding):
    """The bound on the risk of an answer if `share` of the faces wear glasses, at the certificate's confidence."""

    share: float
    bound: float


class ClassRisk(Finding):
    """The certificate of one answer, and the same images by their true label.

    Of the `faces` that truly are `label` and are accepted, `missed` got the other answer; `missed_bound` is its upper
    bound at the certificate's confidence.
    """

    label: Label
    certificate: RiskCertificate
    faces: int
    missed: int
    missed_bound: float
    at_shares: tuple[RiskAtShare, ...]


class BandCertificate(Finding):
    """The certificates of both answers, and the band that they make.

    `images` calibration images were scored by `folds` networks, each by one that was not trained on it; `unfamiliar` of
    them are discarded for their novelty. `coverage` is the accepted share of all of them, with its exact 95 % interval.
    """

    folds: int
    images: int
    unfamiliar: int
    accepted: int
    errors: int
    coverage: Interval
    band: LogitBand
    classes: tuple[ClassRisk, ClassRisk]

    @property
    def certified(self) -> bool:
        """Whether both answers are certified."""
        return all(one.certificate.certified for one in self.classes)

    def of(self, label: Label) -> ClassRisk:
        """Return the part of one answer."""
        return next(one for one in self.classes if one.label is label)

    @classmethod
    def find(
        cls, logits: Floats, glasses: Bools, *, unfamiliar: int, folds: int, target_risk: float, confidence: float
    ) -> Self:
        """Certify both answers on the familiar calibration images.

        Args:
            logits: calibrated, `[N]`.
            glasses: bool `[N]`.
            unfamiliar: calibration images that the novelty threshold has discarded already.
            folds: the networks that scored the images.
            target_risk: largest share of wrong labels, for each answer.
            confidence: of each answer's promise.

        Raises:
            DataError: there are no images with one of the answers, or a value is not a number.
        """
        found = {
            label: _certified(logits, glasses, label, target_risk=target_risk, confidence=confidence) for label in Label
        }
        band = LogitBand(low=found[Label.NO_GLASSES].band.low, high=found[Label.GLASSES].band.high)
        accepted = band.accepts(logits)
        wrong = accepted & ((logits >= 0) != glasses)
        classes = tuple(_class_risk(label, found[label], band, logits, glasses) for label in Label)
        return cls(
            folds=folds,
            images=len(logits) + unfamiliar,
            unfamiliar=unfamiliar,
            accepted=int(accepted.sum()),
            errors=int(wrong.sum()),
            coverage=clopper_pearson(int(accepted.sum()), len(logits) + unfamiliar),
            band=band,
            classes=classes,
        )


def describe(found: BandCertificate) -> str:
    """Describe a certificate in a few sentences."""
    parts = [_described(one) for one in found.classes]
    share = f"{100 * found.coverage.value:.1f} %"
    parts.append(f"Together {share} are accepted ({found.accepted:,} of {found.images:,}, {found.errors} wrong).")
    if found.folds > 1:
        parts.append(
            f"The images were scored by {found.folds} networks of the same settings, each by one that was not trained "
            "on it; the promise for the exported one of them assumes that it is as good as their mean."
        )
    return " ".join(parts)


def risk_at_share(
    band: LogitBand, logits: Floats, glasses: Bools, *, label: Label, share: float, level: float
) -> float:
    """Bound the risk of an answer if `share` of the faces wear glasses and each class looks as it does here.

    The rates of this answer among both classes are bounded separately, so each gets half of `1 - level`.
    """
    answered = band.accepts(logits) & ((logits >= 0) == (label is Label.GLASSES))
    truly = glasses == (label is Label.GLASSES)
    each = (1 + level) / 2
    right = _lower_bound(int((answered & truly).sum()), int(truly.sum()), confidence=each)
    wrong = upper_bound(int((answered & ~truly).sum()), int((~truly).sum()), confidence=each)
    of_class = share if label is Label.GLASSES else 1 - share
    whole = of_class * right + (1 - of_class) * wrong
    return (1 - of_class) * wrong / whole if whole else 1.0


def _certified(
    logits: Floats, glasses: Bools, label: Label, *, target_risk: float, confidence: float
) -> RiskCertificate:
    answered = (logits >= 0) == (label is Label.GLASSES)
    start = first_coverage(int(answered.sum()), target_risk=target_risk, confidence=confidence)
    coverages = [start, *(coverage for coverage in COVERAGES if coverage > start)]
    bands = propose_bands(logits[answered], label, coverages=coverages)
    return certify(logits[answered], glasses[answered], bands, target_risk=target_risk, confidence=confidence)


def _class_risk(
    label: Label, certificate: RiskCertificate, band: LogitBand, logits: Floats, glasses: Bools
) -> ClassRisk:
    truly = band.accepts(logits) & (glasses == (label is Label.GLASSES))
    missed = int((truly & ((logits >= 0) != glasses)).sum())
    level = certificate.confidence
    return ClassRisk(
        label=label,
        certificate=certificate,
        faces=int(truly.sum()),
        missed=missed,
        missed_bound=upper_bound(missed, int(truly.sum()), confidence=level),
        at_shares=tuple(
            RiskAtShare(share=share, bound=risk_at_share(band, logits, glasses, label=label, share=share, level=level))
            for share in SHARES
        ),
    )


def _described(one: ClassRisk) -> str:
    found = one.certificate
    counts = f"{found.accepted:,} of {found.images:,} accepted, {found.errors} wrong"
    bound = f"{100 * found.risk_bound:.2f} %"
    if found.certified:
        return (
            f"With confidence {found.confidence:g}, at most {100 * found.target_risk:g} % of the images accepted as "
            f"{one.label} are labelled wrongly ({counts}, bound {bound})."
        )
    more = found.images_needed
    remedy = (
        "more images would not help, because no edge has a lower observed risk"
        if more is None
        else f"certifying it needs about {more:,} images with this answer"
    )
    return (
        f"The answer {one.label} is not certified at {100 * found.target_risk:g} %: the bound of the most careful "
        f"edge, which is used, is {bound} ({counts}), and {remedy}."
    )


def _lower_bound(hits: int, total: int, *, confidence: float) -> float:
    """Clopper and Pearson's one-sided lower bound on a share."""
    return float(betaincinv(hits, total - hits + 1, 1 - confidence)) if hits else 0.0
