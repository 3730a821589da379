"""The effect of wrong labels on accuracy and log loss, and the size of differences in standard errors."""

import math

from training.evaluation.seeds import standard_error


def entropy(share: float) -> float:
    """Return the entropy of a binary event in nats: the log loss of the best answer, its probability."""
    return -sum(part * math.log(part) for part in (share, 1 - share) if part > 0)


def one_sided_floor(wrong: float, labelled: float) -> float:
    """Return the lowest log loss if all wrong labels are on one side.

    Only images of one class are then labelled wrongly, `1 - labelled + wrong` of all: the loss is the entropy of their
    labels, and the other labels are certain. It is lower than with as many wrong labels on both sides.

    Args:
        wrong: share of labels that are wrong.
        labelled: share of images whose label is the one that all wrong labels say.
    """
    affected = 1 - labelled + wrong
    return affected * entropy(wrong / affected)


def seen_accuracy(true: float, wrong: float) -> float:
    """Return the accuracy against labels of which a share is flipped at random, for an accuracy on true labels."""
    return true * (1 - wrong) + (1 - true) * wrong


def difference_in_errors(first: float, second: float, images: int) -> float:
    """Return a difference of accuracies in standard errors of a difference, each measured on so many images."""
    return abs(first - second) / math.hypot(standard_error(first, images), standard_error(second, images))


def smallest_count(shares: tuple[float, ...], decimals: int) -> int:
    """Return the smallest number of images of which every share is a rounded fraction."""
    counts = (
        count
        for count in range(1, 10**decimals)
        if all(round(round(share * count) / count, decimals) == share for share in shares)
    )
    return next(counts)
