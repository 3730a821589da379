"""How unlike a portrait an image is: a score on what the trained network sees, fitted against images that are none.

A classifier is sure of its answer about a wall or a face upside down; the score is what tells such images apart. The
network itself is left as it was trained: a small head reads its feature maps. D. Hendrycks et al., *Deep Anomaly
Detection with Outlier Exposure* (2019), is the idea of fitting against made outliers; `bench/novelty.py` holds it
against the Mahalanobis distance of the same features, and against kinds that the head was not shown.
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
from training.errors import DataError, RecordsError
from training.evaluation.calibrate import Finding
from training.model.network import block_outputs

HEAD_FILE = "novelty.keras"
CELLS = 4  # Every block is averaged down to so many places an edge: where things are is what a face is made of.
NEURONS = 32
COPIES = 3  # Augmented ones of each portrait: what the network learned from looks more familiar to it than it should.
AUGMENT = 0.6
OUTLIERS = 500  # of each kind
MORE = {"half covered": 5, "rows swapped": 2}  # Kinds that are much like portraits, so many times as often.
EPOCHS = 12
BATCH = 256
CLIP = 8.0  # standard deviations
ALLOWED = 0.01  # Share of good faces that may be discarded for it.


class NoveltyFindings(Finding):
    """The threshold, and how it was set: `above` of `images` calibration portraits lie above it."""

    threshold: float
    images: int
    above: int


def features(network: keras.Model) -> Any:
    """What the head reads, symbolic float32 `[N, F]`: every block's maps, averaged over 4 x 4 places."""
    layers = keras.layers
    parts = []
    for index, output in enumerate(block_outputs(network), start=1):
        edge = max(1, output.shape[1] // CELLS)
        cells = layers.AveragePooling2D(edge, name=f"cells{index}")(output)
        parts.append(layers.Flatten(name=f"flat_cells{index}")(cells))
    return layers.Concatenate(name="features")(parts)


def fit_head(
    network: keras.Model, faces: Pixels, *, seed: int, kinds: Mapping[str, OutlierMaker] | None = None
) -> keras.Model:
    """Fit a head, features float32 `[N, F]` -> novelty float32 `[N]`, that is above 0 for what is no portrait.

    Args:
        network: trained; not changed.
        faces: portraits it was trained on, uint8 `[N, S, S, 3]`.
        seed: the same seed gives the same head.
        kinds: what to fit against, by default all of `LEARNED`.
    """
    keras.utils.set_random_seed(seed)
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
    # Half of the weight each, however many outliers there are.
    weights = np.repeat([len(bad) / len(good), 1.0], [len(good), len(bad)])
    head.fit(np.concatenate([good, bad]), answers, sample_weight=weights, epochs=EPOCHS, batch_size=BATCH, verbose=0)
    return head


def novelty_output(network: keras.Model, head: keras.Model) -> Any:
    """The head's answer as a symbolic tensor of the network's graph, float32 `[N]`."""
    return head(features(network))


def score_novelty(network: keras.Model, head: keras.Model, images: Pixels) -> NDArray[np.float32]:
    """Novelty, float32 `[N]`, of uint8 `[N, S, S, 3]`."""
    return _read(keras.Model(network.input, novelty_output(network, head)), images)


def set_threshold(novelty: NDArray[np.floating[Any]]) -> NoveltyFindings:
    """The threshold above which lie at most 1 % of calibration portraits' scores, `[N]`.

    It is one of the scores. Given it, the portraits below it are still a fair sample of those that the gate keeps, as
    order statistics are; the portrait that set it is not, and `familiar` leaves it out of what a certificate counts.

    Raises:
        DataError: there are no scores.
    """
    if not len(novelty):
        raise DataError("a novelty threshold is set on calibration images, and there are none")
    above = int(ALLOWED * len(novelty))
    threshold = np.sort(np.asarray(novelty, np.float32))[::-1][above]
    # The shortest decimal of the float32, as the gate's scorer writes scores.
    return NoveltyFindings(threshold=float(str(threshold)), images=len(novelty), above=above)


def familiar(novelty: NDArray[np.floating[Any]], findings: NoveltyFindings) -> NDArray[np.bool_]:
    """Which calibration portraits, `[N]`, a certificate may count."""
    return np.asarray(novelty, np.float32) < np.float32(findings.threshold)


def load_head(folder: Path) -> keras.Model:
    """Read the head that `lensgate train calibrate` fitted.

    Raises:
        RecordsError: there is none.
    """
    path = folder / HEAD_FILE
    if not path.is_file():
        raise RecordsError(f"{folder} holds no novelty head: run `lensgate train calibrate` first")
    return keras.models.load_model(path)


def _augmented(faces: Pixels, *, seed: list[int]) -> Pixels:
    moved = augment(tf.constant(faces.astype(np.float32)), AUGMENT, seed=tf.constant(seed))
    found: Pixels = np.rint(moved.numpy()).astype(np.uint8)
    return found


def _outliers(portraits: Pixels, kinds: Mapping[str, OutlierMaker], *, seed: int) -> Iterator[Pixels]:
    random = np.random.default_rng(seed)
    for kind, make in kinds.items():
        chosen = random.permutation(len(portraits))[: OUTLIERS * MORE.get(kind, 1)]
        yield np.ascontiguousarray(make(portraits[chosen], random))


def _head(good: NDArray[np.float32]) -> keras.Model:
    layers = keras.layers
    inputs = keras.Input((good.shape[1],), name="novelty_features")
    # Fixed to what the portraits have. A Normalization layer would, but does not become constants of the graph.
    scale = layers.BatchNormalization(center=False, scale=False, trainable=False, name="novelty_scale")
    # A feature far outside of what portraits have says no more for being farther.
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
    found: NDArray[np.float32] = reader.predict(images.astype(np.float32), batch_size=256, verbose=0)
    return found
