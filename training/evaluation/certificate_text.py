"""Describe a certificate in sentences."""

from common.terminal import percent_exact, percent_up
from gate import Label
from training.evaluation.certificate import Certificate, ClassCertificate

CROSS_FITTED = (
    "The images were scored by {folds} networks of one recipe, each trained without the images that it scores; the "
    "served network is one of them. The bounds are about the mean of these networks, and hold for a single one "
    "approximately."
)
SPLIT = "The images are the calibration split of the served network, which was not trained on them."


def describe(certificate: Certificate, *, temperature: float | None = None) -> tuple[str, ...]:
    """Describe a certificate in sentences, first the band; with `temperature` its edges are probabilities."""
    papers = not certificate.certified
    return (
        _band(certificate, temperature),
        *(
            describe_class(label, part, certificate.confidence, papers=papers)
            for label, part in certificate.classes.items()
        ),
        *describe_confidence(certificate),
        CROSS_FITTED.format(folds=certificate.folds) if certificate.folds > 1 else SPLIT,
    )


def describe_class(label: Label, part: ClassCertificate, confidence: float, *, papers: bool = False) -> str:
    """Describe the promise of one label, or how to get one; `papers` if the band in use is the paper's."""
    counts = f"{part.accepted:,} accepted, {part.errors:,} wrong, bound {percent_up(part.risk_bound):g} %"
    sure = f"with confidence {confidence}"
    target = percent_exact(part.target_risk)
    if part.certified:
        return f"Of the images accepted as {label} at most {target} are labelled wrongly {sure} ({counts})."
    edge = "the paper's" if papers else "a careful choice"
    return (
        f"{label} is not certified at {target} {sure} ({counts}): {_remedy(label, part)}. "
        f"Its edge of the band is {edge}, without a promise."
    )


def describe_true_class(label: Label, part: ClassCertificate, confidence: float) -> str:
    """Describe the errors among the accepted faces that truly belong to the class."""
    seen = part.true_class
    truly = "with" if label is Label.GLASSES else "without"
    return (
        f"Of {seen.accepted:,} accepted faces {truly} glasses {seen.errors:,} are labelled wrongly; with confidence "
        f"{confidence} at most {percent_up(seen.bound):g} %, for this band taken as given."
    )


def describe_confidence(certificate: Certificate) -> tuple[str, ...]:
    """State the confidence of one promise and of both; empty unless both are certified."""
    if not certificate.complete:
        return ()
    each, both = map(percent_exact, (certificate.confidence, max(0.0, 1 - 2 * (1 - certificate.confidence))))
    return (f"Each class's promise holds with {each} confidence by itself, and both together with at least {both}.",)


def _band(certificate: Certificate, temperature: float | None) -> str:
    share = f"{100 * certificate.coverage.value:.4g} %"
    unfamiliar = certificate.images - certificate.familiar
    return (
        f"{_edges(certificate, temperature)} accepts {share} of {certificate.images:,} images "
        f"({certificate.errors:,} of {certificate.accepted:,} wrong); {unfamiliar:,} are unfamiliar."
    )


def _edges(certificate: Certificate, temperature: float | None) -> str:
    if temperature is None:
        return f"The band of raw logits [{certificate.band.low:.2f}, {certificate.band.high:.2f}]"
    band = certificate.served_band(temperature)
    return f"Band [{band.low}, {band.high}]"


def _remedy(label: Label, part: ClassCertificate) -> str:
    if part.tested and not part.tested[0].accepted:
        return "the network is certain enough about none of the calibration images: train it longer or on more images"
    if part.images_needed is None:
        return "more images would not help, because the observed risk of the most careful edge is too high"
    faces = "faces with glasses" if label is Label.GLASSES else "faces without glasses"
    return f"it takes about {part.images_needed:,} more labelled {faces} outside the training split"
