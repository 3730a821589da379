"""The draws of the audit sample: half of them uniform among accepted images, half by claimed error."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gate import Action, Decision

LARGEST_CLAIM = 100.0
"""Largest multiple of the mean claimed error that counts, so that a draw has at least a hundredth of a full weight."""

MEMORY = 10_000
"""Number of accepted images that the mean claimed error follows."""


class DrawKind(StrEnum):
    """The way in which an image came into the audit sample."""

    UNIFORM = "uniform"
    CLAIMED_ERROR = "claimed_error"


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

    The claimed error of an image is the probability that its label is wrong by the model's own calibrated estimate,
    min(p, 1 - p). The share of images with a large claim is small, and holds most of the errors. All draws are
    independent, and depend on earlier images only by their mean claim.

    Args:
        ratio: share of the accepted images to draw, about half of them each way; with 1 all are drawn.
        rng: returns a number uniform in [0, 1).
    """

    def __init__(self, ratio: float, *, rng: Callable[[], float] = random.random) -> None:
        # Both ways together draw the ratio, and at 1 the uniform way alone draws every image.
        self._uniform = ratio / (2 - ratio)
        self._by_claim = ratio - self._uniform
        self._rng = rng
        self._mean = 0.0
        self._seen = 0

    def draw(self, decision: Decision, probability: float) -> Draw | None:
        """Draw an image, or return None; discarded images are never drawn."""
        if decision.action is not Action.ACCEPT:
            return None
        claimed = min(probability, 1 - probability)
        total = min(1.0, self._uniform + self._by_claim * self._relative(claimed))
        self._follow(claimed)
        number = self._rng()
        if number >= total:
            return None
        kind = DrawKind.UNIFORM if number < self._uniform else DrawKind.CLAIMED_ERROR
        return Draw(kind, total, self._uniform / total)

    def _relative(self, claimed: float) -> float:
        """Return the claimed error as a multiple of the mean of earlier images."""
        return min(claimed / self._mean, LARGEST_CLAIM) if self._mean > 0 else 1.0

    def _follow(self, claimed: float) -> None:
        self._seen = min(self._seen + 1, MEMORY)
        self._mean += (claimed - self._mean) / self._seen
