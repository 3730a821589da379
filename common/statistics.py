"""How far an error rate may be from the share that was counted."""

import math

_STEPS = 60  # Halvings of [0, 1]: what is left is below what a double can tell apart.


def clopper_pearson(errors: int, images: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share of which `errors` of `images` were counted, half of the rest on either side.

    C. Clopper and E. Pearson, *The use of confidence or fiducial limits*, 1934. Not a number where nothing was counted.
    """
    if images == 0:
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    return 1 - _upper(images - errors, images, tail), _upper(errors, images, tail)


def _upper(errors: int, images: int, tail: float) -> float:
    """The share at which no more than `errors` would be counted with the probability `tail`."""
    if errors == images:
        return 1.0
    low, high = errors / images, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(errors, images, middle) > tail else (low, middle)
    return (low + high) / 2


def _at_most(errors: int, images: int, share: float) -> float:
    """The probability of `errors` or fewer where they come with `share`, which is at least `errors / images`."""
    if share >= 1.0:
        return 0.0
    # From the largest term down: each is a known multiple of the one before, and the rest soon counts for nothing.
    ways = math.lgamma(images + 1) - math.lgamma(errors + 1) - math.lgamma(images - errors + 1)
    term = math.exp(ways + errors * math.log(share) + (images - errors) * math.log1p(-share))
    total = term
    for count in range(errors, 0, -1):
        term *= count / (images - count + 1) * (1 - share) / share
        total += term
        if term < total * 1e-17:
            break
    return total
