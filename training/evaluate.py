"""How good the exported model is on images it did not learn from, each figure with its 95 % interval."""

import numpy as np
from numpy.typing import NDArray

from gate import Band
from gate.card import Histogram, Interval, Metrics
from gate.scorer import Scorer
from training.records import Records

Z_95 = 1.959964
RESAMPLES = 2_000
HISTOGRAM_EDGES = tuple(round(edge / 20, 2) for edge in range(21))

Floats = NDArray[np.float64]


def predict(scorer: Scorer, records: Records, *, batch: int = 64) -> Floats:
    """Score every image of a split: float64 `[N]`."""
    starts = range(0, len(records.images), batch)
    # Score by score as the gate sees it, so that what lies on the band's edge is counted as the gate counts it.
    parts = (scorer.score(records.images[start : start + batch]).each() for start in starts)
    return np.array([score.probability for part in parts for score in part])


def evaluate(probability: Floats, labels: NDArray[np.float32], band: Band) -> Metrics:
    """Hold probabilities, `[N]`, against labels, `[N]` of 0 and 1.

    Shares have Wilson's interval; the log loss, which is no share, has a bootstrap interval with a fixed seed.
    """
    correct = (probability >= 0.5) == (labels == 1)
    accepted = np.array([one not in band for one in probability])
    losses = _log_losses(probability, labels)
    return Metrics(
        images=len(labels),
        accuracy=wilson(int(correct.sum()), len(labels)),
        log_loss=_bootstrapped_mean(losses),
        coverage=wilson(int(accepted.sum()), len(labels)),
        selective_accuracy=wilson(int(correct[accepted].sum()), int(accepted.sum())) if accepted.any() else None,
    )


def evaluate_by_data_set(probability: Floats, records: Records, band: Band) -> dict[str, Metrics]:
    """`evaluate` for each data set of a split by itself: an easy one must not hide a hard one."""
    origin = np.array(records.data_sets)
    return {
        str(name): evaluate(probability[origin == name], records.labels[origin == name], band)
        for name in np.unique(origin)
    }


def reference_histogram(probability: Floats) -> Histogram:
    """The scores' distribution, which live scores are later held against."""
    counts, _ = np.histogram(probability, HISTOGRAM_EDGES)
    return Histogram(edges=HISTOGRAM_EDGES, counts=tuple(int(count) for count in counts))


def wilson(hits: int, total: int) -> Interval:
    """A share with Wilson's 95 % interval, which holds near 0 and 1 too (E. B. Wilson, 1927)."""
    share = hits / total
    spread = Z_95**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = Z_95 * np.sqrt(share * (1 - share) / total + Z_95**2 / (4 * total**2)) / (1 + spread)
    return Interval(value=share, low=max(0.0, centre - half), high=min(1.0, centre + half))


def _log_losses(probability: Floats, labels: NDArray[np.float32]) -> Floats:
    right = np.where(labels == 1, probability, 1 - probability)
    losses: Floats = -np.log(np.clip(right, 1e-7, 1.0))
    return losses


def _bootstrapped_mean(values: Floats) -> Interval:
    random = np.random.default_rng(0)
    samples = [np.mean(random.choice(values, len(values))) for _ in range(RESAMPLES)]
    low, high = np.quantile(samples, [0.025, 0.975])
    return Interval(value=float(np.mean(values)), low=float(low), high=float(high))
