"""The band of uncertain images on raw logits, and its conversion to the probabilities of a card."""

import math
import sys
from typing import Self

import numpy as np
from pydantic import model_validator
from scipy.special import expit, logit

from gate import Band, Label
from training.evaluation.calibrate import Bools, Finding, Floats

# Largest float32 error of a probability in the graph: four steps below 1.
FLOAT32_SLACK = 2.0**-22


SIGNS = {Label.GLASSES: 1.0, Label.NO_GLASSES: -1.0}
"""A logit times the sign of a label is its margin: it grows with the certainty of that label."""


class RawBand(Finding):
    """The closed interval of raw logits that are too uncertain to accept."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"the band must satisfy low <= high, not low {self.low} and high {self.high}")
        return self

    @classmethod
    def from_probability(cls, band: Band, temperature: float) -> Self:
        """Convert a band of probabilities; an edge at 0 or 1 discards that whole side."""
        # JSON has no infinity, and no logit lies beyond the largest float.
        low, high = np.clip(logit([band.low, band.high]) * temperature, -sys.float_info.max, sys.float_info.max)
        return cls(low=float(low), high=float(high))

    def edge(self, label: Label) -> float:
        """Return the edge beyond which images are accepted with this label."""
        return self.high if label is Label.GLASSES else self.low

    def accepts(self, logits: Floats) -> Bools:
        """Whether each raw logit, `[N]`, lies outside the band: bool `[N]`."""
        return (logits < self.low) | (logits > self.high)


def accepted_as(label: Label, logits: Floats, *, edge: float) -> Bools:
    """Whether each raw logit, `[N]`, lies beyond the edge of a label: bool `[N]`."""
    accepted: Bools = SIGNS[label] * logits > SIGNS[label] * edge
    return accepted


def probability_band(raw: RawBand, temperature: float) -> Band:
    """Convert to a band of probabilities for the card, rounded outwards.

    Edges have four decimals, more near 0 and 1. The rounding discards slightly more images than certified: it adds no
    error, and raises the error share by at most the share of those images. If float32 cannot distinguish an edge from 0
    or 1, that whole side is discarded.
    """
    # Rounding to 10 decimals removes float noise such as 0.12000000000000001; the slack is far larger.
    return Band(round(1.0 - _rounded_up(-raw.low / temperature), 10), _rounded_up(raw.high / temperature))


def _rounded_up(scaled_logit: float) -> float:
    # Logit 0 is exactly 0.5 in every precision, so this edge needs no slack.
    if scaled_logit == 0:
        return 0.5
    edge = float(expit(scaled_logit)) + FLOAT32_SLACK
    if edge >= 1:
        return 1.0
    decimals = max(4, 2 - math.floor(math.log10(min(edge, 1 - edge))))
    return math.ceil(edge * 10.0**decimals) / 10.0**decimals
