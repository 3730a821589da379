"""Evaluate the exported model on held-out images; each metric has a 95 % interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common import statistics
from gate import Action, Band, Decision, Reason
from gate.card import CardText, DiscardedShares, Interval, ReferenceHistogram, SplitMetrics
from gate.pixels import Pixels
from gate.scorer import Score, Scorer
from training.data.outliers import JUDGED, make_outliers
from training.data.records import Records
from training.evaluation.calibrate import Bools, Floats, log_losses

RESAMPLES = 2_000
_BATCH = 64
HISTOGRAM_EDGES = tuple(round(edge / 20, 2) for edge in range(21))


@dataclass(frozen=True, slots=True)
class GateScores:
    """Scores of `N` images, and the decisions by the card's band and novelty threshold."""

    scores: tuple[Score, ...]
    decisions: tuple[Decision, ...]

    @property
    def probability(self) -> Floats:
        """float64 `[N]`."""
        return np.array([score.probability for score in self.scores])

    @property
    def accepted(self) -> Bools:
        """bool `[N]`."""
        return np.array([decision.action is Action.ACCEPT for decision in self.decisions], bool)

    @property
    def unfamiliar(self) -> Bools:
        """bool `[N]`."""
        return np.array([decision.reason is Reason.UNFAMILIAR for decision in self.decisions], bool)


def score_images(scorer: Scorer, card: CardText, images: Pixels) -> GateScores:
    """Score images, uint8 `[N, S, S, 3]`, and decide about them, exactly as the service does."""
    batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
    scores = tuple(score for batch in batches for score in scorer.score(batch).each())
    band = card.band.changed()
    decisions = tuple(card.decide(score.probability, score.novelty, band=band) for score in scores)
    return GateScores(scores, decisions)


def evaluate(
    probability: Floats, labels: NDArray[np.float32], band: Band, *, unfamiliar: Bools | None = None
) -> SplitMetrics:
    """Compare probabilities, `[N]`, with labels, `[N]` of 0 and 1; `unfamiliar` is bool `[N]` if the model has novelty.

    Shares have Wilson's interval; the log loss has a bootstrap interval with a fixed seed.
    """
    count, correct = len(labels), (probability >= 0.5) == (labels == 1)
    accepted = np.array([one not in band for one in probability])
    if unfamiliar is not None:
        accepted &= ~unfamiliar
    return SplitMetrics(
        images=count,
        accuracy=wilson(int(correct.sum()), count),
        log_loss=_bootstrapped_mean(log_losses(probability, labels)),
        coverage=wilson(int(accepted.sum()), count),
        selective_accuracy=wilson(int(correct[accepted].sum()), int(accepted.sum())) if accepted.any() else None,
        unfamiliar=None if unfamiliar is None else wilson(int(unfamiliar.sum()), count),
    )


def evaluate_by_data_set(judged: GateScores, records: Records, card: CardText) -> dict[str, SplitMetrics]:
    """Evaluate each data set separately, so that an easy one does not hide a hard one."""
    band, origin = card.band.changed(), np.array(records.data_sets)
    unfamiliar = judged.unfamiliar if "novelty" in card.outputs else None
    return {
        str(name): evaluate(
            judged.probability[origin == name],
            records.labels[origin == name],
            band,
            unfamiliar=None if unfamiliar is None else unfamiliar[origin == name],
        )
        for name in np.unique(origin)
    }


def discarded_by_kind(scorer: Scorer, card: CardText, faces: Pixels, *, seed: int) -> dict[str, DiscardedShares]:
    """Measure how many outliers of every kind in `outliers.JUDGED`, made from `faces`, are discarded."""
    shares = {}
    for kind, images in make_outliers(faces, JUDGED, seed=seed).items():
        judged = score_images(scorer, card, images)
        count = len(images)
        shares[kind] = DiscardedShares(
            images=count,
            discarded=wilson(int((~judged.accepted).sum()), count),
            unfamiliar=wilson(int(judged.unfamiliar.sum()), count),
        )
    return shares


def reference_histogram(probability: Floats) -> ReferenceHistogram:
    """Compute the histogram of probabilities, `[N]`, that drift monitoring compares live scores with."""
    counts, _ = np.histogram(probability, HISTOGRAM_EDGES)
    return ReferenceHistogram(edges=HISTOGRAM_EDGES, counts=tuple(int(count) for count in counts))


def wilson(hits: int, total: int) -> Interval:
    """Compute a share with Wilson's 95 % interval, which is valid near 0 and 1 (E. B. Wilson, 1927)."""
    low, high = statistics.wilson(hits, total)
    return Interval(value=hits / total, low=low, high=high)


def _bootstrapped_mean(values: Floats) -> Interval:
    random = np.random.default_rng(0)
    samples = [np.mean(random.choice(values, len(values))) for _ in range(RESAMPLES)]
    low, high = np.quantile(samples, [0.025, 0.975])
    return Interval(value=float(np.mean(values)), low=float(low), high=float(high))
