"""The promise to certify, and the certificate that `certify` returns."""

from typing import Annotated

from pydantic import Field

from gate import Band, Label
from gate.card import Interval, TrueClass
from training.evaluation.calibrate import Finding
from training.evaluation.raw_band import RawBand, probability_band

Risk = Annotated[float, Field(gt=0.0, lt=1.0)]


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
        return any(part.certified for part in self.classes.values())

    @property
    def target_risk(self) -> float | None:
        """The largest error share among all accepted images, at any share of glasses; None unless both are certified.

        It holds with at least 1 - 2 (1 - confidence).
        """
        return max(part.target_risk for part in self.classes.values()) if self.complete else None

    @property
    def complete(self) -> bool:
        """Whether both labels are certified."""
        return all(part.certified for part in self.classes.values())

    def served_band(self, temperature: float) -> Band:
        """Return the band of the card, in probabilities: the paper's as it is if no label is certified."""
        return probability_band(self.band, temperature) if self.certified else Band()
