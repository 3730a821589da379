"""Score every labelled face by a network that was trained without it.

The calibration split of a run is the first fold; the other faces of the same data sets form the remaining ones, with
near-duplicates together. For each of them a further network of the same recipe, with its novelty head and threshold, is
trained without its fold. Auxiliary data sets are only ever trained on.

An exact bound on the pooled faces is one on the mean risk of these networks, and the served network is one of them; it
is approximate, because the training sets overlap (P. Bayle et al., *Cross-validation Confidence Intervals for Test
Error*, 2020) and because another network of the same recipe may be better or worse than their mean.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from common.storage import AnyPath
from gate import Label
from gate.files import remove_unfinished
from gate.pixels import Pixels
from training.data.dataset import Split
from training.data.folds import split_folds
from training.data.image_table import ImageRow
from training.data.records import Records, load_records, read_rows
from training.data.resplit import write_split
from training.errors import DataError
from training.evaluation.calibrate import Bools, Floats
from training.evaluation.novelty import HEAD_FILE, NoveltyFindings, familiar, fit_head, score_novelty, set_threshold
from training.evaluation.raw_band import SIGNS
from training.model.checkpoint import TrainingState
from training.model.preset import Preset
from training.model.train import NETWORK_FILE, FittedModel, fit_network, predict_logits

_Key = tuple[str, str]
"""Data set and name of an image."""

FOLDS_FOLDER = "folds"
SCORES_FILE = "scores.npz"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Faces that one network was not trained on: raw logits, labels and whether each is familiar, all `[N]`."""

    logits: Floats
    labels: Floats
    familiar: Bools

    def __len__(self) -> int:
        return len(self.logits)

    def counted(self) -> "HeldOut":
        """Return the familiar faces."""
        kept = self.familiar
        return HeldOut(self.logits[kept], self.labels[kept], kept[kept])


def score_held_out(
    network: keras.Model, head: keras.Model, held: Records, *, threshold: NoveltyFindings | None = None
) -> HeldOut:
    """Score faces; without `threshold` it is set on these faces, as the calibration of a run does."""
    novelty = score_novelty(network, head, held.images)
    known = familiar(novelty, threshold or set_threshold(novelty))
    return HeldOut(predict_logits(network, held.images), held.labels.astype(np.float64), known)


def cross_fit(
    records: AnyPath, run: Path, fitted: FittedModel, *, folds: int, say: Callable[[str], None]
) -> list[HeldOut]:
    """Fit the networks of folds 2 to `folds` one after another, and score the faces of each fold.

    The folder `folds` of the run keeps networks, checkpoints and scores, so an interrupted call resumes.

    Args:
        records: those of the run.
        run: folder of the calibrated run.
        fitted: its network and settings.
        folds: number of folds including the calibration split, at least 3: of 2 the second one would hold the whole
            validation split.
        say: receives one line before each network.

    Raises:
        DataError: a label has too few distinct faces, or a fold holds all faces to stop early by.
        RecordsError: the records are unfinished or lack shards.
    """
    preset = fitted.run.preset
    rows = read_rows(records)
    learned = load_records(records, Split.TRAIN, Split.VALIDATION, size=preset.size)
    main = _main_data_sets(rows)
    learned = learned.select(np.isin(learned.data_sets, sorted(main)))
    head = _sha256(run / HEAD_FILE)  # A new calibration of the run also renews the heads of the folds.
    masks = split_folds(learned, folds=folds - 1, seed=fitted.run.seed)
    parts = [_keys(learned.select(held_out)) for held_out in masks]
    _check_validation(rows, parts)
    scored = []
    for fold, members in enumerate(parts, start=2):
        say(f"fold {fold} of {folds}: fit a network without {len(members)} of {len(learned)} faces, and score these")
        folder = run / FOLDS_FOLDER / f"{fold}-of-{folds}"
        write_split(records, folder / "records", list(_without(rows, members)), command=fitted.run.command)
        scored.append(_score_fold(folder, preset, seed=fitted.run.seed + fold, of=head))
    return scored


def pool(parts: Sequence[HeldOut]) -> HeldOut:
    """Pool the faces of all networks, in raw logits of the first network.

    The logits of a network for a label are scaled so that their median agrees with the first network's, because the
    same certainty can mean another logit in another network. The labels of the faces are not used.
    """
    scaled = [replace(part, logits=_rescaled(part, parts[0])) for part in parts]
    return HeldOut(
        np.concatenate([part.logits for part in scaled]),
        np.concatenate([part.labels for part in scaled]),
        np.concatenate([part.familiar for part in scaled]),
    )


def _score_fold(folder: Path, preset: Preset, *, seed: int, of: str) -> HeldOut:
    keras.backend.clear_session()  # Otherwise all networks stay in memory.
    records = folder / "records"
    remove_unfinished(folder / SCORES_FILE)
    fitted = fit_network(records, folder, preset=preset, seed=seed)
    kept = TrainingState(folder / SCORES_FILE, key=f"{of} {_sha256(folder / NETWORK_FILE)} {seed}")
    if (arrays := kept.read()) is not None:
        return HeldOut(arrays["logits"], arrays["labels"], arrays["familiar"])
    faces: Pixels = load_records(records, Split.TRAIN, size=preset.size).images
    head = fit_head(fitted.network, faces, seed=seed)
    scores = score_held_out(fitted.network, head, load_records(records, Split.CALIBRATION, size=preset.size))
    kept.write({"logits": scores.logits, "labels": scores.labels, "familiar": scores.familiar})
    return scores


def _keys(faces: Records) -> set[_Key]:
    return set(zip(faces.data_sets, faces.names, strict=True))


def _check_validation(rows: Sequence[ImageRow], parts: Sequence[set[_Key]]) -> None:
    """Refuse folds of which one holds the whole validation split, before any network is fitted."""
    validation = {(row.data_set, row.name) for row in rows if row.split is Split.VALIDATION}
    if any(validation <= members for members in parts):
        raise DataError(
            f"the {len(validation)} images to stop early by are all in one of the {len(parts) + 1} folds: use more "
            "folds or 1, or add images"
        )


def _main_data_sets(rows: Sequence[ImageRow]) -> set[str]:
    """Names of the data sets that the certificate covers: auxiliary ones have no calibration split."""
    return {row.data_set for row in rows if row.split is Split.CALIBRATION}


def _without(rows: Sequence[ImageRow], members: set[_Key]) -> Iterator[ImageRow]:
    """Exchange the calibration split for the faces of a fold."""
    for row in rows:
        if (row.data_set, row.name) in members:
            yield replace(row, split=Split.CALIBRATION)
        elif row.split is Split.CALIBRATION:
            yield replace(row, split=Split.TRAIN)
        else:
            yield row


def _rescaled(part: HeldOut, first: HeldOut) -> Floats:
    sides = {label: part.logits >= 0 if label is Label.GLASSES else part.logits < 0 for label in Label}
    scaled = part.logits.copy()
    for label, side in sides.items():
        own, other = _median(part.logits, label), _median(first.logits, label)
        if own and other:
            scaled[side] *= other / own
    return scaled


def _median(logits: Floats, label: Label) -> float:
    margins = SIGNS[label] * logits
    return float(np.median(margins[margins > 0])) if (margins > 0).any() else 0.0


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
