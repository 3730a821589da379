"""Fit the network in one seeded loop that resumes after an interruption, even a kill."""

import csv
import hashlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import keras
import numpy as np
import tensorflow as tf
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from common.storage import AnyPath, locked
from gate.cores import usable_cores
from gate.files import atomic_files, remove_unfinished
from training.data.augment import augment
from training.data.csv_table import csv_text
from training.data.dataset import Split
from training.data.records import Manifest, Records, load_parts
from training.errors import RecordsError
from training.model.additions import with_additions
from training.model.checkpoint import TrainingProgress, TrainingState
from training.model.network import build_network, logit_accuracy, logit_loss, training_model
from training.model.preset import Preset

NETWORK_FILE = "network.keras"
RUN_FILE = "run.json"
HISTORY_FILE = "history.csv"
STATE_FILE = "state.npz"
HISTORY_COLUMNS = ("accuracy", "loss", "val_accuracy", "val_loss")

History = dict[str, list[float]]


def _checked(settings: dict[str, float | int | str | bool]) -> dict[str, float | int | str | bool]:
    Preset.from_settings(settings)
    return settings


class FitRun(BaseModel):
    """Seed, settings and records of a finished run, written last: without it the folder is incomplete."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    records: str
    seed: int
    epochs: int
    parameters: int
    settings: Annotated[dict[str, float | int | str | bool], AfterValidator(_checked)]

    @property
    def preset(self) -> Preset:
        """The settings as a preset."""
        return Preset.from_settings(self.settings)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `run.json`.

        Raises:
            RecordsError: the file is missing or invalid.
        """
        try:
            return cls.model_validate_json((folder / RUN_FILE).read_bytes())
        except OSError as error:
            raise RecordsError(f"{folder} holds no finished run: run `lensgate train fit` first") from error
        except ValidationError as error:
            raise RecordsError(f"{folder / RUN_FILE} cannot be read: run `lensgate train fit` again") from error


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A trained network and its run."""

    network: keras.Model
    run: FitRun


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A network at its best epoch, with loss and accuracy of every epoch on both splits."""

    network: keras.Model
    history: History


def fit_network(records: AnyPath, out: Path, *, preset: Preset, seed: int, command: str = "") -> FittedModel:
    """Train on the train split, keep the epoch that is best on validation; write network, history and run.

    An interrupted run resumes after its last complete epoch if records, seed and settings are the same; a finished run
    is not repeated unless its files are damaged. Another run in the folder stays complete until this one has finished.

    Raises:
        DivergedError: the loss became NaN.
        FolderInUse: another run is writing to the folder.
        RecordsError: the records are unfinished, lack shards or this size, or change meanwhile.
    """
    fingerprint = Manifest.read(records).fingerprint()
    if (finished := _finished(out, fingerprint, preset, seed=seed)) is not None:
        return finished
    with locked(out):
        return _fit(records, out, preset=preset, seed=seed, command=command, fingerprint=fingerprint)


def _fit(records: AnyPath, out: Path, *, preset: Preset, seed: int, command: str, fingerprint: str) -> FittedModel:
    remove_unfinished(out / STATE_FILE)
    train, validation = load_parts(records, Split.TRAIN, Split.VALIDATION, size=preset.size, fingerprint=fingerprint)
    trained = train_network(train, validation, preset=preset, seed=seed, state=out / STATE_FILE, title="fit")
    run = FitRun(
        command=command,
        records=fingerprint,
        seed=seed,
        epochs=len(trained.history["loss"]),
        parameters=int(trained.network.count_params()),
        settings=preset.settings(),
    )
    with atomic_files(out / NETWORK_FILE, out / HISTORY_FILE, out / RUN_FILE) as (network_file, history_file, run_file):
        trained.network.save(network_file)
        history_file.write_text(_as_csv(trained.history), encoding="utf-8")
        run_file.write_text(run.model_dump_json(indent=2), encoding="utf-8")
    (out / STATE_FILE).unlink(missing_ok=True)
    return FittedModel(trained.network, run)


def load_fitted(folder: Path) -> FittedModel:
    """Load a run that `fit_network` wrote.

    Raises:
        RecordsError: the run is unfinished, its network cannot be loaded, or is of another size than its settings say.
    """
    run = FitRun.read(folder)
    network = load_keras(folder / NETWORK_FILE, step="fit")
    if network.input_shape[1] != run.preset.size:
        raise RecordsError(
            f"{folder / RUN_FILE} does not belong to {NETWORK_FILE} beside it: run `lensgate train fit` again"
        )
    return FittedModel(network, run)


def load_keras(path: Path, *, step: str) -> keras.Model:
    """Load a `.keras` file that `lensgate train STEP` wrote.

    Raises:
        RecordsError: the file is missing, damaged, or of an incompatible release of Keras.
    """
    if not path.is_file():
        raise RecordsError(f"{path} does not exist: run `lensgate train {step}` first")
    try:
        return keras.models.load_model(path)
    except Exception as error:  # Keras raises many types for damaged files and unknown layers.
        raise RecordsError(f"{path} cannot be loaded: run `lensgate train {step}` again") from error


def _finished(out: Path, fingerprint: str, preset: Preset, *, seed: int) -> FittedModel | None:
    """Return the run in `out` if it has these records, settings and seed, and can be loaded."""
    try:
        run = FitRun.read(out)
        if (run.records, run.seed, run.settings) != (fingerprint, seed, preset.settings()):
            return None
        read_history(out)
        return load_fitted(out)
    except RecordsError:
        return None


def read_history(folder: Path) -> History:
    """Read `history.csv` of a finished run: one value per epoch in each column.

    Raises:
        RecordsError: the run is unfinished, or the table is missing or invalid.
    """
    FitRun.read(folder)
    path = folder / HISTORY_FILE
    history = _parse_history(path)
    if history is None or not history["loss"]:
        raise RecordsError(f"{path} cannot be read: run `lensgate train fit` again")
    return history


def train_network(
    train: Records, validation: Records, *, preset: Preset, seed: int, state: AnyPath | None = None, title: str = ""
) -> TrainedNetwork:
    """Minimise binary cross-entropy with Adam, on all GPUs if there are several.

    The preset may add pictures made from the training images, see `training.model.additions`.

    Args:
        train: training images.
        validation: images that determine the best epoch.
        preset: the settings.
        seed: equal seeds give equal networks, with or without interruption.
        state: checkpoint file; a checkpoint of the same run is resumed.
        title: label of the progress bar; empty hides it.
    """
    set_seed(seed)
    key = _key(train, validation, preset, seed)
    train = with_additions(train, preset, seed=seed)
    steps = max(1, len(train) // preset.batch_size)
    with _devices(min(preset.batch_size, len(train))):
        network = build_network(preset)
        model = _compiled(network, preset, steps)
        progress = TrainingProgress(preset, TrainingState(state, key=key), title=title)
        first = progress.resume(model)
        if first < preset.epochs and not progress.stopped:
            model.fit(
                training_batches(train, preset, seed=seed, first_epoch=first),
                validation_data=_plain_batches(validation, preset),
                initial_epoch=first,
                epochs=preset.epochs,
                steps_per_epoch=steps,
                callbacks=[progress],
                shuffle=False,
                verbose=0,
            )
    progress.restore_best(model)
    return TrainedNetwork(network, progress.history)


def _compiled(network: keras.Model, preset: Preset, steps: int) -> keras.Model:
    """Return the training model of a network with optimizer and loss; an epoch has `steps` batches."""
    model = training_model(network)
    model.compile(
        optimizer=keras.optimizers.Adam(_rate(preset, steps)),
        # One loss per image. Keras cannot weight a mean over the batch by the number of images on each device.
        loss=logit_loss,
        metrics=[keras.metrics.MeanMetricWrapper(logit_accuracy, name="accuracy")],
    )
    model.optimizer.build(model.trainable_variables)
    return model


def set_seed(seed: int) -> None:
    """Make what follows depend on the seed alone, also on a GPU."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def predict_logits(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """Compute logits, float64 `[N]`, for uint8 `[N, S, S, 3]`."""
    strategy = network.distribute_strategy
    size = _even_size(len(images), largest=256, devices=strategy.num_replicas_in_sync if strategy else 1)
    return np.asarray(network.predict(images.astype(np.float32), batch_size=size, verbose=0), np.float64)


def training_batches(train: Records, preset: Preset, *, seed: int, first_epoch: int = 0) -> Any:
    """Build an endless `tf.data.Dataset` of (float32 `[B, S, S, 3]`, float32 `[B]`), shuffled and augmented per epoch.

    An epoch depends only on the seed and its number. The incomplete last batch is dropped, unless it is the only one.
    """
    count, steps = len(train), max(1, len(train) // preset.batch_size)
    images, labels = tf.constant(train.images), tf.constant(train.labels)

    def epoch(number: Any) -> Any:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.stack([tf.cast(number, tf.int32), seed])
        )
        batches = tf.data.Dataset.from_tensor_slices(order).batch(preset.batch_size).take(steps)
        return batches.enumerate(number * steps)

    def batch(step: Any, index: Any) -> Any:
        pixels = tf.cast(tf.gather(images, index), tf.float32)
        if preset.augment:
            pixels = augment(pixels, preset.augment, seed=tf.stack([tf.cast(step, tf.int32), seed]))
        return pixels, tf.gather(labels, index)

    batches = tf.data.Dataset.counter(first_epoch).flat_map(epoch)
    return batches.map(batch, num_parallel_calls=usable_cores(), deterministic=True).prefetch(2)


def _plain_batches(records: Records, preset: Preset) -> Any:
    devices = tf.distribute.get_strategy().num_replicas_in_sync
    size = _even_size(len(records), largest=preset.batch_size, devices=devices)
    rows = tf.data.Dataset.from_tensor_slices((records.images, records.labels)).batch(size)
    return rows.map(lambda image, label: (tf.cast(image, tf.float32), label)).cache().prefetch(2)


def _even_size(count: int, *, largest: int, devices: int) -> int:
    """Return the largest batch size that divides evenly among the devices and leaves no device an empty last batch.

    Keras gives every device an equal share of each batch, and fills the last batch in shares of that size. Some kernels
    of TensorFlow, such as oneDNN's on some processors, fail on empty batches. Fall back to the largest size.
    """
    most = min(largest, count) // devices * devices
    sizes = range(most, 0, -devices)
    return next((size for size in sizes if not 0 < count % size <= size // devices * (devices - 1)), most)


def _rate(preset: Preset, steps: int) -> Any:
    schedules = keras.optimizers.schedules
    if preset.schedule == "exponential":
        return schedules.ExponentialDecay(preset.learning_rate, preset.decay_steps, preset.decay_rate)
    # Warm up for one epoch, because the first gradients of a new network are unreliable.
    return schedules.CosineDecay(
        0.0, max(1, preset.epochs - 1) * steps, warmup_target=preset.learning_rate, warmup_steps=steps
    )


def _devices(batch: int) -> AbstractContextManager[Any]:
    """Mirror the network on the largest number of GPUs that divides the batch evenly."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    count = max(count for count in range(1, len(devices) + 1) if batch % count == 0)
    if count == 1:
        return nullcontext()
    names = [one.name for one in devices[:count]]
    scope: AbstractContextManager[Any] = tf.distribute.MirroredStrategy(names).scope()
    return scope


def _key(train: Records, validation: Records, preset: Preset, seed: int) -> str:
    digest = hashlib.sha256()
    # The validation images too: the losses of the epochs before an interruption are compared with those after it.
    for part in (train, validation):
        digest.update(part.images.tobytes())
        digest.update(part.labels.tobytes())
    return f"{digest.hexdigest()} {seed} {preset}"


def _parse_history(path: Path) -> History | None:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name]) for row in rows] for name in HISTORY_COLUMNS}
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return None


def _as_csv(history: History) -> str:
    epochs = enumerate(zip(*history.values(), strict=True), start=1)
    return csv_text([["epoch", *history], *([epoch, *values] for epoch, values in epochs)])
