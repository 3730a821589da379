"""Score labelled images with the exported graph and decide about them, exactly as the service does."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gate import Decision, Label
from gate.card import Card
from gate.pixels import Pixels
from gate.scorer import Scorer
from training.data.records import Records
from training.evaluation.calibrate import Bools, Floats
from training.evaluation.evaluate import GateScores, score_images

_BATCH = 64


@dataclass(frozen=True, slots=True)
class LabelledScores:
    """Scores of `N` images, logits float64 `[N]`, and decisions with the data set's labels as expected labels."""

    records: Records
    judged: GateScores
    logit: Floats
    expecting: tuple[Decision, ...]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def probability(self) -> Floats:
        """float64 `[N]`."""
        return self.judged.probability

    @property
    def wrong(self) -> Bools:
        """Whether the predicted label differs from the data set's, bool `[N]`."""
        wrong: Bools = (self.probability >= 0.5) != (self.records.labels == 1)
        return wrong

    def select(self, which: NDArray[np.generic]) -> "LabelledScores":
        """Select images by a bool mask or an array of indices."""
        index = np.arange(len(self))[which]
        columns = (self.judged.scores, self.judged.decisions, self.expecting)
        scores, decisions, expecting = (tuple(column[one] for one in index) for column in columns)
        return LabelledScores(self.records.select(index), GateScores(scores, decisions), self.logit[index], expecting)

    def by_data_set(self) -> Iterator[tuple[str, "LabelledScores"]]:
        """Yield each data set separately."""
        origin = np.array(self.records.data_sets)
        for name in dict.fromkeys(self.records.data_sets):
            yield name, self.select(origin == name)


class CardGate:
    """The exported model with its card's band and threshold."""

    def __init__(self, scorer: Scorer, card: Card) -> None:
        self.band = card.band.changed()
        self._scorer = scorer
        self._card = card

    def judge(self, images: Pixels) -> GateScores:
        """Score images, uint8 `[N, S, S, 3]`, as the service does."""
        return score_images(self._scorer, self._card, images)

    def score(self, records: Records) -> LabelledScores:
        """Score records and keep their labels and logits."""
        judged = self.judge(records.images)
        starts = range(0, len(records), _BATCH)
        logits = [self._scorer.run(records.images[start : start + _BATCH])["glasses_logit"] for start in starts]
        labels = [Label.GLASSES if shown else Label.NO_GLASSES for shown in records.labels]
        expecting = tuple(
            self._card.decide(score.probability, score.novelty, band=self.band, expected=label)
            for score, label in zip(judged.scores, labels, strict=True)
        )
        return LabelledScores(records, judged, np.concatenate(logits).astype(np.float64), expecting)


def novelties(judged: GateScores) -> Floats | None:
    """Return novelty, float64 `[N]`, or None if the model does not compute it."""
    novelty = [score.novelty for score in judged.scores if score.novelty is not None]
    return np.array(novelty) if novelty else None
