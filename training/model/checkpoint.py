"""Checkpoints: the training state after every epoch, so that an interrupted run can resume."""

import io
import json
import math
import zipfile
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from common.storage import AnyPath, write_atomically
from training.data.progress import progress_bar
from training.errors import DivergedError
from training.model.preset import Preset

_Arrays = dict[str, np.ndarray[Any, Any]]


class TrainingState:
    """The checkpoint file; `key` identifies the run, and a checkpoint of another run is ignored."""

    def __init__(self, path: AnyPath | None, *, key: str) -> None:
        self._path, self._key = path, key

    def read(self) -> _Arrays | None:
        """Return the saved arrays, or None."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            # From memory, because NumPy leaks the handle of an invalid file.
            with np.load(io.BytesIO(self._path.read_bytes()), allow_pickle=False) as file:
                arrays = dict(file)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile):
            return None
        return arrays if str(arrays.pop("key", "")) == self._key else None

    def write(self, arrays: _Arrays) -> None:
        """Save the arrays atomically."""
        if self._path is not None:
            data = io.BytesIO()
            np.savez(data, allow_pickle=False, key=np.array(self._key), **arrays)
            write_atomically(self._path, data.getvalue())


def kept_epoch(losses: Sequence[float], patience: int) -> int:
    """Return the epoch that is kept, from 1, by the validation losses: the last one, or with a patience the lowest.

    Of equally low ones the last is kept.
    """
    lowest = np.flatnonzero(np.asarray(losses) == np.nanmin(losses))
    return int(lowest[-1]) + 1 if patience else len(losses)


class TrainingProgress(keras.callbacks.Callback):  # type: ignore[misc,unused-ignore]
    """Records history and best epoch, decides on early stopping, and saves a checkpoint after each epoch.

    The best epoch has the lowest validation loss; with a patience of 0 it is the last epoch. A NaN loss ends the
    training, because the weights stay NaN.
    """

    def __init__(self, preset: Preset, state: TrainingState, *, title: str = "") -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self._patience = preset.patience
        self._state = state
        self._best: list[np.ndarray[Any, Any]] = []
        self._bar = progress_bar(total=preset.epochs, title=title, unit="epoch", hidden=not title)

    @property
    def stopped(self) -> bool:
        """Whether the validation loss is NaN, or has not improved for `patience` epochs."""
        losses = self.history.get("val_loss", [])
        if not losses:
            return False
        return math.isnan(losses[-1]) or 0 < self._patience <= len(losses) - 1 - int(np.argmin(losses))

    def resume(self, network: keras.Model) -> int:
        """Restore network and optimizer from the checkpoint; return the number of finished epochs."""
        kept = self._state.read()
        if kept is None:
            return 0
        self.history = json.loads(str(kept["history"]))
        _assign([*network.variables, *network.optimizer.variables], _listed(kept, "now"))
        self._best = _listed(kept, "best")
        epochs = len(self.history["loss"])
        self._bar.update(epochs)
        return epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Update history and best epoch; save the checkpoint."""
        del epoch
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        losses = self.history["val_loss"]
        if (not self._patience and not math.isnan(losses[-1])) or losses[-1] <= min(losses):
            self._best = _values(self.model.variables)
        self.model.stop_training = self.stopped
        self._keep()
        self._bar.set_postfix({name: f"{values[-1]:.4f}" for name, values in self.history.items()}, refresh=False)
        self._bar.update()

    def restore_best(self, network: keras.Model) -> None:
        """Restore the weights of the best epoch.

        Raises:
            DivergedError: the loss became NaN in the first epoch, or with a patience of 0 in any.
        """
        self._bar.close()
        losses = self.history["val_loss"]
        if math.isnan(losses[-1]) and (not self._patience or not self._best):
            raise DivergedError(
                f"the loss became NaN in epoch {len(losses)}: use a smaller learning_rate (--preset-file)"
            )
        _assign(network.variables, self._best)

    def _keep(self) -> None:
        now = _values([*self.model.variables, *self.model.optimizer.variables])
        arrays = {f"now{index}": value for index, value in enumerate(now)}
        arrays |= {f"best{index}": value for index, value in enumerate(self._best)}
        self._state.write({**arrays, "history": np.array(json.dumps(self.history))})


def _values(variables: list[Any]) -> list[np.ndarray[Any, Any]]:
    # Keras cannot read a variable that is mirrored on several devices.
    return [np.array(variable.value.numpy()) for variable in variables]


def _assign(variables: list[Any], values: list[np.ndarray[Any, Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _listed(arrays: _Arrays, prefix: str) -> list[np.ndarray[Any, Any]]:
    count = sum(name.startswith(prefix) for name in arrays)
    return [arrays[f"{prefix}{index}"] for index in range(count)]
