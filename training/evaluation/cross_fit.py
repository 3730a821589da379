"""Score every labelled face with a network that was not trained on it (cross-fitting).

A certificate takes hundreds of faces of each class, and the network needs them too. So the faces outside the test split
are divided into folds: the exported network has held out the first, and for each other fold one more network is trained
with the same settings on all faces but those. Cross-validation estimates the error of the networks' mean well if they
are stable (P. Bayle et al., *Cross-validation confidence intervals for test error*, 2020); for the exported network
alone it is an approximation, which is why its own fold is reported beside it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from common.storage import AnyPath
from gate.files import atomic_file
from training.data.dataset import Split
from training.data.near_duplicates import group_near, perceptual_hash
from training.data.records import Manifest, Records, join, load_parts
from training.errors import DataError
from training.evaluation.calibrate import Bools, Floats, calibrate
from training.evaluation.novelty import NoveltyFindings, familiar, fit_head, score_novelty, set_threshold
from training.model.preset import Preset
from training.model.train import STATE_FILE, FitRun, predict_logits, train_network

FOLDS_FOLDER = "folds"


@dataclass(frozen=True, slots=True)
class HeldOutScores:
    """Calibrated logits of held-out faces, float64 `[N]`, their labels and whether they are familiar, bool `[N]`."""

    logits: Floats
    glasses: Bools
    familiar: Bools

    @classmethod
    def join(cls, *parts: Self) -> Self:
        """Concatenate the scores of several folds."""
        return cls(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.glasses for part in parts]),
            np.concatenate([part.familiar for part in parts]),
        )


def score_held_out(
    network: keras.Model, head: keras.Model, held: Records, *, temperature: float, novelty: NoveltyFindings
) -> HeldOutScores:
    """Score faces that `network` was not trained on."""
    return HeldOutScores(
        predict_logits(network, held.images) / temperature,
        held.labels == 1,
        familiar(score_novelty(network, head, held.images), novelty),
    )


def score_other_folds(records: AnyPath, run: Path, *, folds: int) -> tuple[HeldOutScores, ...]:
    """Train and score the networks of all folds but the first, whose faces the fitted network has held out.

    A finished fold is not repeated, and an interrupted one resumes. Auxiliary data sets are trained on by all networks.

    Raises:
        DataError: a fold would lack one of the labels.
    """
    fitted = FitRun.read(run)
    preset = Preset.from_settings(fitted.settings)
    train, validation, calibration = load_parts(
        records, Split.TRAIN, Split.VALIDATION, Split.CALIBRATION, size=preset.size, fingerprint=fitted.records
    )
    held_by_all = _main(Manifest.read(records), train)
    fold_of = assign_folds(train.select(held_by_all), folds - 1, seed=fitted.seed)
    found = []
    for fold in range(folds - 1):
        out = np.zeros(len(train), bool)
        out[np.flatnonzero(held_by_all)[fold_of == fold]] = True
        # With early stopping the validation split must stay unseen; otherwise it is trained on.
        seen = (train.select(~out), calibration) if preset.patience else (train.select(~out), validation, calibration)
        path = run / FOLDS_FOLDER / f"{fold + 2}-of-{folds}"
        found.append(
            _score_fold(join(*seen), validation, train.select(out), path, preset=preset, seed=fitted.seed + fold + 1)
        )
    return tuple(found)


def held_out_by_fit(records: AnyPath, run: Path) -> Records:
    """Return the faces of the first fold: calibration, and validation where the fit did not stop early by it."""
    fitted = FitRun.read(run)
    preset = Preset.from_settings(fitted.settings)
    validation, calibration = load_parts(
        records, Split.VALIDATION, Split.CALIBRATION, size=preset.size, fingerprint=fitted.records
    )
    return calibration if preset.patience else join(calibration, validation)


def assign_folds(records: Records, folds: int, *, seed: int) -> NDArray[np.intp]:
    """Return the fold of each face, `[N]`: stratified by label, near-duplicates together.

    Raises:
        DataError: there are fewer faces of a class than folds.
    """
    if folds == 1:
        return np.zeros(len(records), np.intp)
    groups = group_near([perceptual_hash(image) for image in records.images])
    if min(np.bincount(records.labels.astype(int), minlength=2)) < folds:
        raise DataError(f"{folds + 1} folds need at least {folds} faces of each class: use fewer with --folds")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    found = np.zeros(len(records), np.intp)
    for fold, (_, held) in enumerate(splitter.split(records.images, records.labels, groups)):
        found[held] = fold
    return found


def _score_fold(
    train: Records, validation: Records, held: Records, path: Path, *, preset: Preset, seed: int
) -> HeldOutScores:
    key = _key(train, held, preset, seed)
    kept = _read(path / "scores.npz", key)
    if kept is not None:
        return kept
    path.mkdir(parents=True, exist_ok=True)
    network = train_network(
        train, validation, preset=preset, seed=seed, state=path / STATE_FILE, title=f"fold {path.name}"
    ).network
    head = fit_head(network, train.images, seed=seed)
    scores = score_held_out(
        network,
        head,
        held,
        temperature=calibrate(predict_logits(network, held.images), held.labels).temperature,
        novelty=set_threshold(score_novelty(network, head, held.images)),
    )
    with atomic_file(path / "scores.npz", suffix=".npz") as temporary:
        np.savez(temporary, key=key, logits=scores.logits, glasses=scores.glasses, familiar=scores.familiar)
    (path / STATE_FILE).unlink(missing_ok=True)
    return scores


def _read(path: Path, key: str) -> HeldOutScores | None:
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as file:
        if str(file["key"]) != key:
            return None
        return HeldOutScores(file["logits"], file["glasses"], file["familiar"])


def _key(train: Records, held: Records, preset: Preset, seed: int) -> str:
    digest = hashlib.sha256()
    for part in (train, held):
        digest.update(part.images.tobytes())
        digest.update(part.labels.tobytes())
    return f"{digest.hexdigest()} {seed} {preset}"


def _main(manifest: Manifest, train: Records) -> Bools:
    """Select the faces of data sets with a calibration split: the guarantee covers no auxiliary ones."""
    names = [data.name for data in manifest.data if Split.CALIBRATION in data.images]
    found: Bools = np.isin(train.data_sets, names)
    return found
