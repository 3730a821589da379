"""The draws of the audit sample: half of them uniform among accepted images, half by predicted error."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gate import Action, Decision

MAX_RELATIVE_ERROR = 100.0
"""Largest multiple of the mean predicted error that counts, so that a draw has a hundredth of a full weight or more."""

MEMORY = 10_000
"""Number of accepted images that the mean predicted error follows."""


class DrawKind(StrEnum):
    """The way in which an image came into the audit sample."""

    UNIFORM = "uniform"
    PREDICTED_ERROR = "claimed_error"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw.

    `probability` is that of the image by both ways together, fixed before the draw. `weight` is the probability of the
    uniform way divided by it, in (0, 1]: a weighted mean over all draws estimates the mean over accepted images.
    """

    kind: DrawKind
    probability: float
    weight: float


class AuditDraws:
    """Draws accepted images for the audit.

    The predicted error of an image is the probability that its label is wrong by the model's own calibrated estimate,
    min(p, 1 - p). Few images have a large one, and most of the errors are among them. All draws are independent, and
    depend on earlier images only by the mean of their predicted errors.

    Args:
        ratio: share of the accepted images to draw, about half of them each way; with 1 all are drawn.
        rng: returns a number uniform in [0, 1).
    """

    def __init__(self, ratio: float, *, rng: Callable[[], float] = random.random) -> None:
        # Both ways together draw the ratio, and at 1 the uniform way alone draws every image.
        self._uniform = ratio / (2 - ratio)
        self._by_error = ratio - self._uniform
        self._rng = rng
        self._mean = 0.0
        self._seen = 0

    def draw(self, decision: Decision, probability: float) -> Draw | None:
        """Draw an image, or return None; discarded images are never drawn."""
        if decision.action is not Action.ACCEPT:
            return None
        predicted = min(probability, 1 - probability)
        total = min(1.0, self._uniform + self._by_error * self._relative(predicted))
        self._follow(predicted)
        number = self._rng()
        if number >= total:
            return None
        kind = DrawKind.UNIFORM if number < self._uniform else DrawKind.PREDICTED_ERROR
        return Draw(kind, total, self._uniform / total)

    def _relative(self, predicted: float) -> float:
        """Return the predicted error as a multiple of the mean of earlier images."""
        return min(predicted / self._mean, MAX_RELATIVE_ERROR) if self._mean > 0 else 1.0

    def _follow(self, predicted: float) -> None:
        self._seen = min(self._seen + 1, MEMORY)
        self._mean += (predicted - self._mean) / self._seen
