"""Evidence about an error rate that stays valid at any time: an e-process, also for weighted draws.

An e-process starts at 1 and, as long as the rate keeps its bound, exceeds a threshold c at any time with a probability
of at most 1 / c (J. Ville, 1939; A. Ramdas et al., *Game-theoretic statistics and safe anytime-valid inference*, 2023).
It may therefore be read after each verdict, where a fixed-sample interval holds for one look only.

Each verdict multiplies a capital by 1 + bet * weight * (error - target). An image drawn with the probability q has the
weight c / q, where c is at most the least probability of a draw: the expectation of weight * (error - target) then has
the sign of the rate minus the target, for images of the whole population. With equal weights a factor is the likelihood
ratio of an alternative rate to the target. The capital is divided in advance over the alternatives `ODDS`, and over
starts after each `EVERY` verdicts, so that many good verdicts before a change do not outweigh the bad ones after it.

The bets do not depend on the verdicts, so a higher error never lowers the evidence above the target and never raises
that below it. An unknown verdict can be replaced by the unfavourable one without invalidating the result.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

EVERY = 50
"""Verdicts between two starts."""

LATER = 0.25
"""Share of the capital for all starts but the first: the start after k * EVERY verdicts has LATER / (k (k + 1))."""

_MIN_FACTOR = 1e-12


class Side(StrEnum):
    """The side of the target that the evidence is for."""

    ABOVE = "above"
    BELOW = "below"


ODDS = {Side.ABOVE: (2.0, 3.0, 4.0, 6.0, 10.0), Side.BELOW: (0.0, 0.1, 0.25, 0.5)}
"""Alternative rates as multiples of the target's odds, with equal shares of the capital."""


def log_evidence(errors: ArrayLike, weights: ArrayLike, *, target: float, side: Side) -> Floats:
    """Return the natural logarithm of the evidence before the first and after each of N verdicts, `[N + 1]`.

    Args:
        errors: 1 for an error, 0 otherwise, `[N]`, in the order in which the images were drawn.
        weights: in [0, 1], `[N]`, known when the image is drawn.
        target: the error rate in question, in (0, 1).
        side: the evidence is against a rate on the other side of the target.

    Raises:
        ValueError: an argument is out of range.
    """
    steps = np.asarray(weights, np.float64) * (_checked(errors, weights, target) - target)
    odds = np.array(ODDS[side])[:, None] * target / (1 - target)
    bets = (odds / (1 + odds) - target) / (target * (1 - target))
    # The alternative of no errors loses everything at the first one; a finite loss keeps its later starts defined.
    growth = np.log1p(np.maximum(bets * steps, _MIN_FACTOR - 1))
    capital = _with_starts(np.concatenate([np.zeros((len(odds), 1)), growth.cumsum(axis=1)], axis=1))
    evidence: Floats = np.logaddexp.reduce(capital - np.log(len(odds)), axis=0)
    return evidence


def _checked(errors: ArrayLike, weights: ArrayLike, target: float) -> Floats:
    wrong, weight = np.asarray(errors, np.float64), np.asarray(weights, np.float64)
    if wrong.ndim != 1 or wrong.shape != weight.shape or not np.isin(wrong, (0, 1)).all():
        raise ValueError("errors must be 0 or 1, with one weight each")
    if not ((weight >= 0) & (weight <= 1)).all():
        raise ValueError("weights must lie in [0, 1]")
    if not 0 < target < 1:
        raise ValueError("target must lie between 0 and 1")
    return wrong


def _with_starts(growth: Floats) -> Floats:
    """Return the log capital of all starts together, `[A, N + 1]`, from that of one at the beginning."""
    passed = np.arange(growth.shape[1]) // EVERY
    starts = np.arange(1, passed[-1] + 1)
    shares = np.concatenate([[1 - LATER], LATER / (starts * (starts + 1.0))])
    invested = np.logaddexp.accumulate(np.log(shares) - growth[:, ::EVERY], axis=1)
    total: Floats = np.logaddexp(invested[:, passed] + growth, np.log(LATER / (passed + 1.0)))
    return total
