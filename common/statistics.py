"""Exact intervals and tests of error rates, without SciPy, which the service does not install."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

_STEPS = 60  # Halvings of [0, 1]: the rest is below the resolution of a double.
_ROUNDING = 1e-6
_TIE = 1e-7  # Tables that differ by less in the logarithm of their probability differ by rounding only, as in SciPy.


def clopper_pearson(errors: int, images: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of an error rate, of which `errors` in `images` were counted.

    C. Clopper and E. Pearson, *The use of confidence or fiducial limits*, 1934. Both bounds are NaN without images.
    """
    if images == 0:
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    return 1 - _upper(images - errors, images, tail), _upper(errors, images, tail)


def weighted_interval(share: float, effective: float) -> tuple[float, float]:
    """Return the 95 % interval of an error rate that was estimated as `share` from weighted draws.

    It is the exact one for as many equally weighted draws as have the same variance, `effective` (E. Korn and
    B. Graubard, *Confidence intervals for proportions with small expected number of positive counts*, 1998), with both
    numbers rounded to the wider side. For equal weights it is that of Clopper and Pearson.
    """
    images = math.floor(effective + _ROUNDING)
    least, most = math.floor(share * effective + _ROUNDING), math.ceil(share * effective - _ROUNDING)
    low, _ = clopper_pearson(min(least, images), images)
    _, high = clopper_pearson(min(most, images), images)
    return low, high


def cohen_kappa(table: ArrayLike, effective: float) -> tuple[float | None, ...]:
    """Return Cohen's kappa of two readers with its 95 % interval, None each if both gave one and the same verdict only.

    The interval is that of the agreement, with the readers' frequencies taken as observed, so that it has a width for
    full agreement as well. It is cut off at -1, the least value of kappa.

    Args:
        table: weights of the pairs of verdicts, `[K, K]`.
        effective: number of equally weighted pairs with the same variance.
    """
    shares = np.asarray(table, np.float64)
    if not shares.sum():
        return None, None, None
    shares = shares / shares.sum()
    chance = float(shares.sum(axis=0) @ shares.sum(axis=1))
    if chance > 1 - _ROUNDING:
        return None, None, None
    agreed = float(shares.trace())
    low, high = weighted_interval(agreed, effective)
    kappa, lower, upper = ((each - chance) / (1 - chance) for each in (agreed, low, high))
    return kappa, max(lower, -1.0), upper


def _upper(errors: int, images: int, tail: float) -> float:
    """Return the error rate at which `errors` or fewer are counted with the probability `tail`."""
    if errors == images:
        return 1.0
    low, high = errors / images, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(errors, images, middle) > tail else (low, middle)
    return (low + high) / 2


def _at_most(errors: int, images: int, rate: float) -> float:
    """Return the probability of `errors` or fewer at an error rate of at least `errors / images`."""
    if rate >= 1.0:
        return 0.0
    # Sum from the largest term down: each is a multiple of the one before, and the tail is soon negligible.
    ways = math.lgamma(images + 1) - math.lgamma(errors + 1) - math.lgamma(images - errors + 1)
    term = math.exp(ways + errors * math.log(rate) + (images - errors) * math.log1p(-rate))
    total = term
    for count in range(errors, 0, -1):
        term *= count / (images - count + 1) * (1 - rate) / rate
        total += term
        if term <= total * 1e-17:
            break
    return total


def wilson(events: int, images: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a rate, which costs less than the exact one and covers well on average.

    E. Wilson, *Probable inference, the law of succession, and statistical inference*, 1927. Without
    images it is [0, 1].
    """
    if images == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, weight = events / images, z * z / images
    middle = (rate + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(rate * (1 - rate) / images + weight / (4 * images))
    return (0.0 if events == 0 else middle - half), (1.0 if events == images else middle + half)


def fisher_exact(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Return the two-sided p-value of Fisher's exact test that two groups have the same rate.

    It adds up all tables with these margins that are at most as probable as the counted one (R. Fisher, *Statistical
    Methods for Research Workers*, 1934). It is 1 for an empty group.

    Args:
        first: events and images of one group.
        second: events and images of the other.
    """
    (events, images), (others, rest) = first, second
    total, hits = images + rest, events + others
    lowest, highest = max(0, hits - rest), min(images, hits)
    limit = _log_table(events, images, rest, hits) + _TIE

    def is_rare(count: int) -> bool:
        return _log_table(count, images, rest, hits) <= limit

    # Probabilities rise up to the mode and fall from there on.
    mode = min(max((images + 1) * (hits + 1) // (total + 2), lowest), highest)
    below = bisect_right(range(lowest, mode + 1), False, key=lambda count: not is_rare(count)) + lowest - 1
    above = bisect_left(range(mode, highest + 1), True, key=is_rare) + mode
    if below >= mode or above <= mode:
        return 1.0
    counts = (range(below, lowest - 1, -1), range(above, highest + 1))
    return min(1.0, sum(_tail(each, images, rest, hits) for each in counts))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in the given order.

    Rejecting those below a level rejects any true hypothesis with at most that probability, whatever their dependence
    (S. Holm, *A simple sequentially rejective multiple test procedure*, 1979).
    """
    adjusted = [1.0] * len(p_values)
    least = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted


def _tail(counts: range, images: int, rest: int, hits: int) -> float:
    """Add the probabilities of tables in order away from the mode, until they are negligible."""
    total = term = math.exp(_log_table(counts[0], images, rest, hits)) if counts else 0.0
    for count in counts[:-1]:
        more = (images - count) * (hits - count)
        if counts.step > 0:
            term *= more / ((count + 1) * (rest - hits + count + 1))
        else:
            term *= count * (rest - hits + count) / (more + images - count + hits - count + 1)
        total += term
        if term <= total * 1e-17:
            break
    return total


def _log_table(events: int, images: int, rest: int, hits: int) -> float:
    """Return the logarithm of the hypergeometric probability of `events` of the `hits` in the first group."""
    return _log_ways(images, events) + _log_ways(rest, hits - events) - _log_ways(images + rest, hits)


def _log_ways(images: int, events: int) -> float:
    return math.lgamma(images + 1) - math.lgamma(events + 1) - math.lgamma(images - events + 1)
