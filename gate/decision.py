"""Turn a probability into accept or discard, with a reason."""

from dataclasses import dataclass
from enum import StrEnum


class Label(StrEnum):
    """Content of the image; also the content that a generator says it requested."""

    GLASSES = "glasses"
    NO_GLASSES = "no_glasses"


class Action(StrEnum):
    """Accept or discard the image."""

    ACCEPT = "accept"
    DISCARD = "discard"


class Reason(StrEnum):
    """Reason of a decision. If several reasons to discard apply, the first in this order is given."""

    UNFAMILIAR = "unfamiliar"
    UNCERTAIN = "uncertain"
    CONTRADICTED = "contradicted"
    CONFIDENT = "confident"


@dataclass(frozen=True, slots=True)
class Band:
    """The interval of probabilities, edges included, that are too uncertain to accept; the default is the paper's."""

    low: float = 0.4
    high: float = 0.6

    def __post_init__(self) -> None:
        if not 0.0 <= self.low <= self.high <= 1.0:
            raise ValueError(f"the band must satisfy 0 <= low <= high <= 1, not low {self.low} and high {self.high}")

    def __contains__(self, probability: float) -> bool:
        return self.low <= probability <= self.high


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about one image."""

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
        probability: in [0, 1]; the label is `glasses` if it is >= 0.5.
        band: probabilities that are too uncertain.
        novelty: distance of this image from the training images, if the model measures it.
        novelty_threshold: an image with a higher novelty is unfamiliar; None disables this.
        expected: the label that the generator requested; an image whose confident label differs is discarded.
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
