"""Bound the risk of a band where another share of the images shows glasses.

The rates at which each true class is accepted with each label do not depend on the share of glasses (prior shift), and
with them Bayes' rule gives the risk among the images accepted with a label. Two rates are bounded at once, so each gets
half the error probability (C. E. Bonferroni, 1936). The bounds take the band as given.
"""

from collections.abc import Sequence

from gate import Label
from training.evaluation.calibrate import Finding, Values, labelled
from training.evaluation.raw_band import RawBand, accepted_as
from training.evaluation.risk_bound import upper_bound

SHARES = (0.135, 0.635)
"""Share of glasses among the stand-in faces, and in the Kaggle data set."""


class ShareRisk(Finding):
    """Of the images accepted with `label` the share labelled wrongly if a share `glasses` of all images shows glasses.

    `risk` is None if no image is accepted.
    """

    glasses: float
    label: Label
    risk: float | None
    bound: float


def risks_at_shares(
    logits: Values, labels: Values, band: RawBand, *, confidence: float, shares: Sequence[float] = SHARES
) -> tuple[ShareRisk, ...]:
    """Estimate and bound the risk of each label at each share of glasses, in (0, 1), from logits and labels, `[N]`.

    Raises:
        DataError: there are no images, a label is missing, or a value is not a number.
    """
    scores, glasses = labelled(logits, labels)
    each = (1 + confidence) / 2
    risks = []
    for label in Label:
        accepted, truly = accepted_as(label, scores, edge=band.edge(label)), glasses == (label is Label.GLASSES)
        right, faces = int((accepted & truly).sum()), int(truly.sum())
        wrong, others = int((accepted & ~truly).sum()), int((~truly).sum())
        # A lower bound on a share is an upper bound on the share of the rest.
        least = 1 - upper_bound(faces - right, faces, confidence=each)
        most = upper_bound(wrong, others, confidence=each)
        for share in shares:
            prior = share if label is Label.GLASSES else 1 - share
            observed = _risk(prior, right=right / faces, wrong=wrong / others)
            bound = _risk(prior, right=least, wrong=most)
            risks.append(ShareRisk(glasses=share, label=label, risk=observed, bound=1.0 if bound is None else bound))
    return tuple(risks)


def _risk(prior: float, *, right: float, wrong: float) -> float | None:
    accepted = prior * right + (1 - prior) * wrong
    return (1 - prior) * wrong / accepted if accepted else None
