"""Score novelty, the dissimilarity of an image to portraits, on the features of the trained network.

A classifier is confident about a wall or an upside-down face; the novelty score detects such images. The network is not
changed: a small head reads its feature maps and is fitted against synthetic outliers (D. Hendrycks et al., *Deep
Anomaly Detection with Outlier Exposure*, 2019). `bench/novelty.py` compares it with the Mahalanobis distance of the
same features, and measures it on kinds of outliers that the head was not fitted with.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gate.pixels import Pixels
from training.data.augment import augment
from training.data.outliers import LEARNED, OutlierMaker
from training.errors import DataError
from training.evaluation.calibrate import Finding
from training.model.network import block_outputs
from training.model.train import load_keras, set_seed

HEAD_FILE = "novelty.keras"
CELLS = 4  # Feature maps are averaged down to this edge, which keeps the layout of a face.
NEURONS = 32
COPIES = 3  # Augmented copies per portrait, because training images look too familiar to the network.
AUGMENT = 0.6
OUTLIERS = 500  # of each kind
MORE = {
    "half covered": 5,
    "rows swapped": 2,
    "lightly blurred": 3,
    "shifted": 3,
    "two halves of different people": 4,
}  # Factors for kinds that resemble portraits.
EPOCHS = 12
BATCH = 256
CLIP = 8.0  # standard deviations
ALLOWED = 0.005  # Share of portraits that the threshold may discard.


class NoveltyFindings(Finding):
    """The novelty threshold; `above` of `images` calibration portraits lie above it."""

    threshold: float
    images: int
    above: int


def features(network: keras.Model) -> Any:
    """Return the input of the head, symbolic float32 `[N, F]`: the maps of every block, averaged to 4 x 4 cells."""
    layers = keras.layers
    parts = []
    for index, output in enumerate(block_outputs(network), start=1):
        pool = tuple(max(1, edge // CELLS) for edge in output.shape[1:3])
        cells = layers.AveragePooling2D(pool, name=f"cells{index}")(output)
        parts.append(layers.Flatten(name=f"flat_cells{index}")(cells))
    return layers.Concatenate(name="features")(parts)


def fit_head(
    network: keras.Model, faces: Pixels, *, seed: int, kinds: Mapping[str, OutlierMaker] | None = None
) -> keras.Model:
    """Fit a head, features float32 `[N, F]` -> novelty float32 `[N]`, positive for outliers.

    Args:
        network: trained network; it is not changed.
        faces: its training portraits, uint8 `[N, S, S, 3]`.
        seed: equal seeds give equal heads.
        kinds: outliers to fit against, by default all of `LEARNED`.
    """
    set_seed(seed)
    reader = keras.Model(network.input, features(network))
    portraits = [faces, *(_augmented(faces, seed=[seed, copy]) for copy in range(COPIES))]
    good = np.concatenate([_read(reader, images) for images in portraits])
    others = _outliers(np.concatenate(portraits), LEARNED if kinds is None else kinds, seed=seed)
    bad = np.concatenate([_read(reader, images) for images in others])
    head = _head(good)
    steps = (len(good) + len(bad)) // BATCH * EPOCHS
    head.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, max(1, steps))),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    answers = np.repeat([0.0, 1.0], [len(good), len(bad)])
    # Portraits and outliers have equal total weight.
    weights = np.repeat([len(bad) / len(good), 1.0], [len(good), len(bad)])
    head.fit(np.concatenate([good, bad]), answers, sample_weight=weights, epochs=EPOCHS, batch_size=BATCH, verbose=0)
    return head


def novelty_output(network: keras.Model, head: keras.Model) -> Any:
    """Return the output of the head as a symbolic tensor of the network's graph, float32 `[N]`."""
    return head(features(network))


def score_novelty(network: keras.Model, head: keras.Model, images: Pixels) -> NDArray[np.float32]:
    """Compute novelty, float32 `[N]`, of images, uint8 `[N, S, S, 3]`."""
    return _read(keras.Model(network.input, novelty_output(network, head)), images)


def set_threshold(novelty: NDArray[np.floating[Any]]) -> NoveltyFindings:
    """Set the threshold so that at most 0.5 % of the calibration scores, `[N]`, lie above it.

    The threshold is one of the scores. Conditional on it, the scores below are still an unbiased sample of the accepted
    ones (order statistics); the portrait at the threshold is not, so `familiar` excludes it from the certificate.

    Raises:
        DataError: there are no scores.
    """
    if not len(novelty):
        raise DataError("the novelty threshold needs calibration images, but there are none")
    scores = np.asarray(novelty, np.float32)
    threshold = np.sort(scores)[::-1][int(ALLOWED * len(scores))]
    # Equal scores lie at the threshold, not above it.
    above = int((scores > threshold).sum())
    # The shortest decimal of the float32, the format in which the gate's scorer writes scores.
    return NoveltyFindings(threshold=float(str(threshold)), images=len(scores), above=above)


def familiar(novelty: NDArray[np.floating[Any]], findings: NoveltyFindings) -> NDArray[np.bool_]:
    """Select the calibration portraits that a certificate may count: bool `[N]`."""
    return np.asarray(novelty, np.float32) < np.float32(findings.threshold)


def load_head(folder: Path) -> keras.Model:
    """Load the head that `lensgate train calibrate` fitted.

    Raises:
        RecordsError: the file is missing or damaged.
    """
    return load_keras(folder / HEAD_FILE, step="calibrate")


def _augmented(faces: Pixels, *, seed: list[int]) -> Pixels:
    moved = augment(tf.constant(faces.astype(np.float32)), AUGMENT, seed=tf.constant(seed))
    augmented: Pixels = np.rint(moved.numpy()).astype(np.uint8)
    return augmented


def _outliers(portraits: Pixels, kinds: Mapping[str, OutlierMaker], *, seed: int) -> Iterator[Pixels]:
    random = np.random.default_rng(seed)
    for kind, make in kinds.items():
        chosen = random.permutation(len(portraits))[: OUTLIERS * MORE.get(kind, 1)]
        yield np.ascontiguousarray(make(portraits[chosen], random))


def _head(good: NDArray[np.float32]) -> keras.Model:
    layers = keras.layers
    inputs = keras.Input((good.shape[1],), name="novelty_features")
    # Frozen statistics of the portraits. A Normalization layer would not become constants of the graph.
    scale = layers.BatchNormalization(center=False, scale=False, trainable=False, name="novelty_scale")
    # Clipped, because the distance of a feature far outside the portraits' range carries no information.
    x = layers.Rescaling(1.0, offset=CLIP, name="novelty_shift")(scale(inputs))
    x = layers.ReLU(max_value=2 * CLIP, name="novelty_clip")(x)
    x = layers.Rescaling(1.0, offset=-CLIP, name="novelty_back")(x)
    x = layers.Dropout(0.4, name="novelty_features_dropout")(x)
    weak = keras.regularizers.L2(1e-3)
    x = layers.Dense(NEURONS, activation="relu", kernel_regularizer=weak, name="novelty_dense")(x)
    x = layers.Dropout(0.3, name="novelty_dropout")(x)
    answer = layers.Dense(1, name="novelty_logit")(x)
    scale.set_weights([good.mean(axis=0), good.var(axis=0)])
    return keras.Model(inputs, layers.Reshape((), name="novelty_squeeze")(answer), name="novelty")


def _read(reader: keras.Model, images: Pixels) -> NDArray[np.float32]:
    # `predict` would build a data set for each of a dozen kinds of outliers, and hold all images as floats.
    parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    return np.concatenate([reader.predict_on_batch(part.astype(np.float32)) for part in parts])
