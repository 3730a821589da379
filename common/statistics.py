"""Exact confidence intervals of an error rate, without SciPy, which the service does not install.

Certificates and cards use `training.evaluation.calibrate.clopper_pearson`, which evaluates the same interval with
SciPy. The two differ in the last bits, and published cards keep theirs; a test holds them within 1e-12 of each other.
"""

import math

_STEPS = 60  # Halvings of [0, 1]: the rest is below the resolution of a double.


def clopper_pearson(errors: int, images: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of an error rate, of which `errors` in `images` were counted.

    C. Clopper and E. Pearson, *The use of confidence or fiducial limits*, 1934. Both bounds are NaN without images.
    """
    if images == 0:
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    return 1 - _upper(images - errors, images, tail), _upper(errors, images, tail)


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
        if term < total * 1e-17:
            break
    return total
