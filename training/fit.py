"""Fit the network to a folder of records: the loop, its augmentation and its schedule."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import keras
import tensorflow as tf
from pydantic import BaseModel, ConfigDict, ValidationError

from gate.models import write_whole
from training.dataset import Split
from training.errors import RecordsError
from training.network import build_network
from training.preset import Preset
from training.records import Manifest, tf_dataset

NETWORK_FILE = "network.keras"
RUN_FILE = "run.json"
HISTORY_FILE = "history.csv"


class Run(BaseModel):
    """What a finished run was made with. Written last: a folder without one is not finished."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    records: str
    seed: int
    epochs: int
    parameters: int
    settings: dict[str, float | int | str | bool]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `run.json`.

        Raises:
            RecordsError: there is none.
        """
        try:
            return cls.model_validate_json((folder / RUN_FILE).read_bytes())
        except (OSError, ValidationError) as error:
            raise RecordsError(f"{folder} holds no finished run: run `lensgate train fit` first") from error


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained network and the run it came from."""

    network: keras.Model
    run: Run


def fit_network(records: Path, out: Path, *, preset: Preset, seed: int, command: str = "") -> Fitted:
    """Train on the train split, stop by the validation split, keep the best epoch; write network, history and run.

    Adam with an exponentially decaying rate minimises the binary cross-entropy.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / RUN_FILE).unlink(missing_ok=True)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    network = build_network(preset)
    rate = keras.optimizers.schedules.ExponentialDecay(preset.learning_rate, preset.decay_steps, preset.decay_rate)
    network.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
    )
    train, validation = training_batches(records, preset, seed), _batches(records, Split.VALIDATION, preset)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=preset.patience, restore_best_weights=True)
    history = network.fit(train, validation_data=validation, epochs=preset.epochs, callbacks=[stop], shuffle=False)
    run = Run(
        command=command,
        records=Manifest.read(records).fingerprint(),
        seed=seed,
        epochs=len(history.history["loss"]),
        parameters=int(network.count_params()),
        settings=preset.settings(),
    )
    network.save(out / NETWORK_FILE)
    write_whole(out / HISTORY_FILE, _as_csv(history.history).encode())
    write_whole(out / RUN_FILE, run.model_dump_json(indent=2).encode())
    return Fitted(network, run)


def load_fitted(folder: Path) -> Fitted:
    """Read back what `fit_network` wrote."""
    run = Run.read(folder)
    return Fitted(keras.models.load_model(folder / NETWORK_FILE), run)


def _batches(records: Path, split: Split, preset: Preset) -> Any:
    return tf_dataset(records, split).cache().batch(preset.batch_size).prefetch(tf.data.AUTOTUNE)


def training_batches(records: Path, preset: Preset, seed: int) -> Any:
    """The train split as a `tf.data.Dataset` of batches, shuffled anew and augmented anew in each epoch."""
    rows = tf_dataset(records, Split.TRAIN).cache().shuffle(10_000, seed=seed)
    batches = rows.batch(preset.batch_size)
    if preset.augment:
        augment = _augmentation(seed)
        # One call after the other: in parallel, which batch gets which random numbers would be a matter of luck.
        batches = batches.map(lambda image, label: (augment(image, training=True), label))
    return batches.prefetch(tf.data.AUTOTUNE)


def _augmentation(seed: int) -> keras.Sequential:
    """What a generator's portraits may differ by without a change of the answer."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.RandomFlip("horizontal", seed=seed),
            layers.RandomRotation(0.02, fill_mode="reflect", seed=seed + 1),
            layers.RandomTranslation(0.06, 0.06, fill_mode="reflect", seed=seed + 2),
            layers.RandomZoom((-0.15, 0.15), fill_mode="reflect", seed=seed + 3),
            layers.RandomBrightness(0.15, value_range=(0, 255), seed=seed + 4),
            layers.RandomContrast(0.25, value_range=(0, 255), seed=seed + 5),
        ]
    )


def _as_csv(history: dict[str, list[float]]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["epoch", *history])
    rows.writerows([epoch, *values] for epoch, values in enumerate(zip(*history.values(), strict=True), start=1))
    return text.getvalue()
