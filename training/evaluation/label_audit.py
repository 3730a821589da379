"""Find labels that contradict the image, by cross-validation: each image is scored by networks trained without it.

With many wrong labels a network learns some of the errors and underrates the rarer label. The audit therefore runs in
rounds: each round trains only on images whose labels the previous round did not doubt. Labels are compared with
probabilities by confident learning: Northcutt, Jiang and Chuang, JAIR 70 (2021).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from scipy.special import expit

from common.terminal import is_formula
from gate import Label
from gate.files import remove_unfinished, write_atomically
from training.data.csv_table import csv_text
from training.data.dataset import image_name
from training.data.folds import Mask, split_folds
from training.data.records import Records
from training.evaluation.calibrate import Floats
from training.model.checkpoint import TrainingState
from training.model.preset import Preset
from training.model.train import predict_logits, train_network

ISSUES_FILE = "label_issues.csv"
PROPOSALS_FILE = "proposed_corrections.csv"

FOLDS_FOLDER = "folds"

AUDIT_PRESET = Preset(
    size=32,
    filters=(16, 32, 64),
    dropout=0.3,
    batch_size=16,
    learning_rate=2e-3,
    schedule="cosine",
    augment=0.5,
    epochs=12,
    patience=0,
)
"""With 11.6 % of 2,059 labels flipped, recall is 0.85 to 0.88 and precision 0.89 to 0.91.

    python -m bench.audit ../shared/faces

Ten networks in two rounds take about 290 seconds of CPU. Single trials of alternatives: the AUC of the first round was
0.93 with batches of 32 and a dropout of 0.5, and 0.95 with batches of 16 and 0.3; 64 pixels gained as much at three
times the cost; the second round raised recall from 0.66 to 0.86, a third had no reliable effect. Without flipped labels
it flags 10 of 2,313: nine thin frames and a pair of sunglasses that the networks miss.
"""

FOLDS = 5
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Issue:
    """A doubtful label; `score` is the probability of the given label, so 0 is the most doubtful."""

    data_set: str
    name: str
    given: Label
    suggested: Label
    score: float

    @property
    def number(self) -> str:
        """An id for `corrections.csv`: with prefix and ending if it would be a formula, or another image's id."""
        choices = (self.name.removeprefix("face-"), self.name)
        safe = (text for text in choices if not is_formula(text) and image_name(text) == self.name)
        return next(safe, f"{self.name}.png")


def audit(records: Records, out: Path, *, preset: Preset = AUDIT_PRESET, folds: int = FOLDS, seed: int) -> list[Issue]:
    """Find the doubtful labels of `records`, most doubtful first.

    `out / folds` keeps the logits of each fold and a checkpoint of the fold in training, so an interrupted audit
    resumes; with other labels, images or settings it starts again.

    Raises:
        DataError: a label has fewer distinct images than there are folds.
    """
    parts = split_folds(records, folds=folds, seed=seed)
    learned_from, logits = np.ones(len(records), np.bool_), np.zeros(len(records))
    for turn in range(ROUNDS):
        for fold, held_out in enumerate(parts):
            path = out / FOLDS_FOLDER / f"round-{turn + 1}-fold-{fold + 1}.npz"
            train = records.select(_with_both_labels(records, learned_from & ~held_out, ~held_out))
            its_seed = seed + turn * folds + fold
            logits[held_out] = _out_of_fold_logits(train, records.select(held_out), path, preset=preset, seed=its_seed)
        learned_from = ~_doubted(records, expit(logits))
    return find_issues(records, expit(logits))


def find_issues(records: Records, probability: Floats) -> list[Issue]:
    """Compare the labels with out-of-fold probabilities of glasses, `[N]`; the most doubtful labels come first."""
    given, both = records.labels.astype(int), _both(probability)
    found = find_label_issues(given, both, filter_by="low_normalized_margin", n_jobs=1)
    score = get_label_quality_scores(given, both, method="self_confidence")
    return [
        Issue(
            records.data_sets[index],
            records.names[index],
            given=_label(given[index]),
            suggested=_label(1 - given[index]),
            score=float(score[index]),
        )
        for index in sorted(np.flatnonzero(found), key=lambda index: (score[index], index))
    ]


def write_issues(issues: Sequence[Issue], out: Path, *, data_sets: Sequence[str]) -> list[Path]:
    """Write `label_issues.csv`, and for each data set proposed corrections; return the paths of the latter.

    With several data sets, the issues have a column `data_set` and the proposals are named after their data set.
    """
    several = len(data_sets) > 1
    rows = [[one.number, one.given, one.suggested, f"{one.score:.4g}", one.data_set] for one in issues]
    head = ["id", "given", "suggested", "score", "data_set"]
    width = len(head) if several else len(head) - 1
    _write_table(out / ISSUES_FILE, [row[:width] for row in [head, *rows]])
    proposals = []
    for name in data_sets:
        path = out / (f"{name}-{PROPOSALS_FILE}" if several else PROPOSALS_FILE)
        lines = [[one.number, one.suggested, _reason(one)] for one in issues if one.data_set == name]
        _write_table(path, [["id", "label", "reason"], *lines])
        proposals.append(path)
    return proposals


def _out_of_fold_logits(train: Records, held_out: Records, path: Path, *, preset: Preset, seed: int) -> Floats:
    """Compute logits, `[N]`, of held-out images; `path` keeps them for a resumed audit."""
    kept = TrainingState(path, key=_key(train, held_out, preset, seed))
    if (arrays := kept.read()) is not None:
        return arrays["logits"]
    keras.backend.clear_session()  # Otherwise all networks of the audit stay in memory.
    state = path.with_suffix(".state")
    remove_unfinished(path, state)
    # Without patience the last epoch is used, so a few validation images are enough.
    watched = train.select(np.arange(min(len(train), preset.batch_size)))
    trained = train_network(train, watched, preset=preset, seed=seed, state=state, title=path.stem)
    mirrored = held_out.images[:, :, ::-1]
    logits: Floats = (predict_logits(trained.network, held_out.images) + predict_logits(trained.network, mirrored)) / 2
    kept.write({"logits": logits})
    state.unlink()
    return logits


def _key(train: Records, held_out: Records, preset: Preset, seed: int) -> str:
    digest = hashlib.sha256()
    for array in (train.images, train.labels, held_out.images):
        digest.update(array.tobytes())
    return f"{digest.hexdigest()} {seed} {preset}"


def _doubted(records: Records, probability: Floats) -> Mask:
    """Select more labels than are reported: for the next round, a wrong label costs more than a missing good one."""
    doubted: Mask = find_label_issues(
        records.labels.astype(int), _both(probability), filter_by="prune_by_noise_rate", n_jobs=1
    )
    return doubted


def _with_both_labels(records: Records, kept: Mask, every: Mask) -> Mask:
    """Return `kept`, or `every` image if too many labels are doubted to learn both from the others."""
    return kept if len(set(records.labels[kept])) == len(Label) else every


def _both(probability: Floats) -> Floats:
    return np.stack([1 - probability, probability], axis=1)


def _label(glasses: int) -> Label:
    return Label.GLASSES if glasses else Label.NO_GLASSES


def _reason(issue: Issue) -> str:
    return f"audit: the probability of {issue.given} is {issue.score:.2g}"


def _write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    write_atomically(path, csv_text(rows).encode())
