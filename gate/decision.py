"""From a probability to accept or discard, and why."""

from dataclasses import dataclass
from enum import StrEnum


class Label(StrEnum):
    """What the picture shows; also what a generator may say it asked for."""

    GLASSES = "glasses"
    NO_GLASSES = "no_glasses"


class Action(StrEnum):
    """What becomes of the image."""

    ACCEPT = "accept"
    DISCARD = "discard"


class Reason(StrEnum):
    """Why. Of several reasons to discard the first in this order is given."""

    UNFAMILIAR = "unfamiliar"
    UNCERTAIN = "uncertain"
    CONTRADICTED = "contradicted"
    CONFIDENT = "confident"


@dataclass(frozen=True, slots=True)
class Band:
    """The probabilities, edges included, that are too uncertain to keep; by default the paper's."""

    low: float = 0.4
    high: float = 0.6

    def __post_init__(self) -> None:
        if not 0.0 <= self.low <= self.high <= 1.0:
            raise ValueError(f"the band must satisfy 0 <= low <= high <= 1, not low {self.low} and high {self.high}")

    def __contains__(self, probability: float) -> bool:
        return self.low <= probability <= self.high


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's answer about one image."""

    label: Label
    action: Action
    reason: Reason


def decide(
    probability: float,
    band: Band,
    *,
    novelty: float | None = None,
    novelty_threshold: float | None = None,
    expected: Label | None = None,
) -> Decision:
    """Accept or discard an image whose person wears glasses with `probability`.

    Args:
        probability: in [0, 1]; from 0.5 on the label is `glasses`.
        band: what is too uncertain.
        novelty: how unlike the training images this one is, where the model says so.
        novelty_threshold: above it an image is unfamiliar; None switches that off.
        expected: what the generator asked for; a confident label that contradicts it is discarded.
    """
    label = Label.GLASSES if probability >= 0.5 else Label.NO_GLASSES
    if novelty is not None and novelty_threshold is not None and novelty > novelty_threshold:
        reason = Reason.UNFAMILIAR
    elif probability in band:
        reason = Reason.UNCERTAIN
    elif expected is not None and expected is not label:
        reason = Reason.CONTRADICTED
    else:
        reason = Reason.CONFIDENT
    action = Action.ACCEPT if reason is Reason.CONFIDENT else Action.DISCARD
    return Decision(label, action, reason)
