"""The exact upper bound of an error share, and the number of images that it takes."""

from bisect import bisect_left

from scipy.special import betaincinv

MAX_IMAGES = 10**9
"""The search for a number of images ends here: no data set is as large."""


def upper_bound(errors: float, total: float, *, confidence: float) -> float:
    """Compute Clopper and Pearson's one-sided bound on the share that `errors` of `total` were drawn from.

    It is at most r exactly if at most this many errors have a probability of at most 1 - confidence at risk r.
    """
    return float(betaincinv(errors + 1, total - errors, confidence)) if errors < total else 1.0


def images_required(risk: float, *, target_risk: float, confidence: float, errors: int = 0) -> int | None:
    """Compute the accepted images whose bound meets the target, with this many errors and this further `risk`.

    None if no number suffices. For 1 % at 95 %: 299 without an error, 473 with one.
    """
    if risk >= target_risk:
        return None

    def enough(accepted: int) -> bool:
        return upper_bound(errors + risk * accepted, accepted, confidence=confidence) <= target_risk

    required = bisect_left(range(MAX_IMAGES), True, lo=1, key=enough)
    return required if required < MAX_IMAGES else None
