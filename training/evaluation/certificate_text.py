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


def describe(found: Certificate, *, temperature: float | None = None) -> tuple[str, ...]:
    """Describe a certificate in sentences, first the band; with `temperature` its edges are probabilities."""
    papers = not found.certified
    return (
        _band(found, temperature),
        *(describe_class(label, one, found.confidence, papers=papers) for label, one in found.classes.items()),
        describe_confidence(found),
        CROSS_FITTED.format(folds=found.folds) if found.folds > 1 else SPLIT,
    )


def describe_class(label: Label, found: ClassCertificate, confidence: float, *, papers: bool = False) -> str:
    """Describe the promise of one label, or how to get one; `papers` if the band in use is the paper's."""
    counts = f"{found.accepted:,} accepted, {found.errors:,} wrong, bound {percent_up(found.risk_bound):g} %"
    sure = f"with confidence {confidence}"
    target = percent_exact(found.target_risk)
    if found.certified:
        return f"Of the images accepted as {label} at most {target} are labelled wrongly {sure} ({counts})."
    edge = "the paper's" if papers else "a careful choice"
    return (
        f"{label} is not certified at {target} {sure} ({counts}): {_remedy(label, found)}. "
        f"Its edge of the band is {edge}, without a promise."
    )


def describe_true_class(label: Label, found: ClassCertificate, confidence: float) -> str:
    """Describe the errors among the accepted faces that truly belong to the class."""
    seen = found.true_class
    truly = "with" if label is Label.GLASSES else "without"
    return (
        f"Of {seen.accepted:,} accepted faces {truly} glasses {seen.errors:,} are labelled wrongly; with confidence "
        f"{confidence} at most {percent_up(seen.bound):g} %, for this band taken as given."
    )


def describe_confidence(found: Certificate) -> str:
    """State the confidence of one promise and of both."""
    each, both = map(percent_exact, (found.confidence, max(0.0, 1 - 2 * (1 - found.confidence))))
    return f"Each class's promise holds with {each} confidence by itself, and both together with at least {both}."


def _band(found: Certificate, temperature: float | None) -> str:
    share = f"{100 * found.coverage.value:.4g} %"
    unfamiliar = found.images - found.familiar
    return (
        f"{_edges(found, temperature)} accepts {share} of {found.images:,} images ({found.errors:,} of "
        f"{found.accepted:,} wrong); {unfamiliar:,} are unfamiliar."
    )


def _edges(found: Certificate, temperature: float | None) -> str:
    if temperature is None:
        return f"The band of raw logits [{found.band.low:.2f}, {found.band.high:.2f}]"
    band = found.served_band(temperature)
    return f"Band [{band.low}, {band.high}]"


def _remedy(label: Label, found: ClassCertificate) -> str:
    if found.tested and not found.tested[0].accepted:
        return "the network is certain enough about none of the calibration images: train it longer or on more images"
    if found.images_needed is None:
        return "more images would not help, because the observed risk of the most careful edge is too high"
    faces = "faces with glasses" if label is Label.GLASSES else "faces without glasses"
    return f"it takes about {found.images_needed:,} more labelled {faces} outside the training split"
