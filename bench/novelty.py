"""Compare novelty scores: the shipped head, heads fitted without one kind of outlier, the Mahalanobis distance.

    python -m bench.novelty runs/records runs/fit

All scores use the same features of the fitted network, and a threshold that discards 1 % of the calibration portraits.
The table shows the share of each kind above the threshold. For `unseen` the head was fitted without that kind.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from bench.arguments import read_places
from gate.pixels import Pixels
from training.data.dataset import Split
from training.data.outliers import JUDGED, LEARNED, make_outliers
from training.data.records import load_records
from training.evaluation.novelty import features, fit_head, score_novelty, set_threshold
from training.model.train import load_fitted

IMAGES = 200
# Similar kinds are left out together.
RELATED = {"upside down": ("upside down", "flipped"), "rows swapped": ("rows swapped", "blocks swapped")}

Score = Callable[[Pixels], NDArray[np.floating]]


def main(records: Path, run: Path) -> int:
    """Print the table; return the exit status."""
    fitted = load_fitted(run)
    size = int(fitted.run.settings["size"])
    train, held, strangers = (
        load_records(records, split, size=size).images for split in (Split.TRAIN, Split.CALIBRATION, Split.VALIDATION)
    )
    kinds = make_outliers(held[:IMAGES], JUDGED, seed=1)
    head = _head_score(fitted.network, train, tuple(LEARNED))
    distance = _mahalanobis(fitted.network, train)
    print(f"{'':32} {'head':>6} {'unseen':>7} {'Mahalanobis':>12}")
    faces = "validation portraits"
    print(f"{faces:32} {_above(head, held, strangers):6.3f} {'':7} {_above(distance, held, strangers):12.3f}")
    for kind, images in kinds.items():
        left = tuple(one for one in LEARNED if one not in RELATED.get(kind, (kind,)))
        whole = len(left) == len(LEARNED)
        unseen = "" if whole else f"{_above(_head_score(fitted.network, train, left), held, images):.3f}"
        print(f"{kind:32} {_above(head, held, images):6.3f} {unseen:>7} {_above(distance, held, images):12.3f}")
    return 0


def _above(score: Score, held: Pixels, images: Pixels) -> float:
    return float((score(images) > set_threshold(score(held)).threshold).mean())


def _head_score(network: keras.Model, faces: Pixels, kinds: tuple[str, ...]) -> Score:
    head = fit_head(network, faces, seed=0, kinds={kind: LEARNED[kind] for kind in kinds})
    return lambda images: score_novelty(network, head, images)


def _mahalanobis(network: keras.Model, faces: Pixels) -> Score:
    """Shrink the covariance by a tenth towards a sphere, because it is nearly singular."""
    reader = keras.Model(network.input, features(network))

    def read(images: Pixels) -> NDArray[np.float64]:
        return np.asarray(reader.predict(images.astype(np.float32), batch_size=256, verbose=0), np.float64)

    known = read(faces)
    centre, spread = known.mean(axis=0), np.cov(known.T)
    shrunk = 0.9 * spread + 0.1 * np.eye(len(spread)) * np.trace(spread) / len(spread)
    inverse = np.linalg.inv(shrunk)

    def score(images: Pixels) -> NDArray[np.floating]:
        away = read(images) - centre
        distance: NDArray[np.float64] = np.einsum("ni,ij,nj->n", away, inverse, away)
        return distance

    return score


if __name__ == "__main__":
    sys.exit(main(*read_places("bench.novelty", __doc__, records="prepared records", run="folder of the fit")))
