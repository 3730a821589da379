"""Trials on Keras Tuner: one mechanism for studies, whose trials are listed, and for tuning, which chooses them.

Whatever is killed goes on when the same command is run again: a trial after its last whole epoch, the search after its
last trial. Past one machine, give each the same records and the same command, and Keras Tuner's own variables:
`KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT` of the chief, and `KERASTUNER_TUNER_ID`, `chief` on one machine and
another name on every other. The chief trains nothing: it hands out the trials and writes the tables.
"""

import csv
import hashlib
import io
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import keras_tuner
import tensorflow as tf
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial as TunerTrial
from keras_tuner.src.distribute.utils import is_chief_oracle
from pydantic import BaseModel, ConfigDict
from scipy.special import expit

from common.storage import AnyPath, remove_tree, write_atomically
from gate import Band
from training.data.records import Records
from training.errors import RecordsError, SearchError
from training.evaluation.evaluate import evaluate
from training.model.preset import Preset
from training.model.train import STATE_FILE, predict_logits, train_network
from training.search.coordinator import Client, serve
from training.search.oracles import KEY, OBJECTIVE, ORACLE_FILE, Values, Whole

TRIALS_FOLDER = "trials"
VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")

Metrics = dict[str, float]
Measure = Callable[[Values, AnyPath], Metrics]
"""Runs one trial with these values, keeping its state in this file; its metrics, `OBJECTIVE` among them."""


class Trial(BaseModel):
    """One trial that came to an end; without metrics where it failed: out of memory, or a loss that is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    values: Values
    metrics: Metrics


def fingerprint(*parts: Any) -> str:
    """What tells one experiment from another: trials of two are never mixed."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def run_trials(oracle: Whole, measure: Measure, out: AnyPath) -> tuple[Trial, ...] | None:
    """Run all trials that are not done yet; what came of all of them, in the order they were begun.

    None in a worker, which knows only its own: the chief has them all.

    Raises:
        RecordsError: the folder holds the trials of another experiment, or the chief runs another.
        SearchError: Keras Tuner's variables lack one, or chief and workers do not find each other.
        StorageError: what is kept of the trials cannot be written or read.
    """
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing and len(missing) < len(VARIABLES):
        # Without an address, Keras Tuner would run the search a second time, into the same folder.
        raise SearchError(f"{' and '.join(missing)} must be set as well, or none of {', '.join(VARIABLES)}")
    tuner = _Tuner(oracle, measure, out)
    try:
        tuner.search()
    except keras_tuner.errors.FatalError as error:
        raise error.__cause__ or error from None
    if tuner.is_worker:
        return None
    for name in oracle.trials:
        # What one left that was killed after its end.
        remove_tree(out / TRIALS_FOLDER / f"trial_{name}")
    return tuple(_outcome(oracle.trials[name]) for name in oracle.start_order)


def train_and_measure(
    parts: tuple[Records, Records, Records], *, preset: Preset, seed: int, state: AnyPath, title: str
) -> Metrics:
    """Train on the first part, stop by the second and measure on the third.

    There are no `seconds` where the training was interrupted: nobody knows how long it took before.
    """
    train, validation, measured = parts
    interrupted, started = state.is_file(), time.monotonic()
    trained = train_network(train, validation, preset=preset, seed=seed, state=state, title=title)
    seconds = {} if interrupted else {"seconds": time.monotonic() - started}
    logits = predict_logits(trained.network, measured.images)
    found = evaluate(expit(logits), measured.labels, Band())
    return {
        "accuracy": found.accuracy.value,
        OBJECTIVE: found.log_loss.value,
        "images": len(measured),
        "errors": int(((logits >= 0) != (measured.labels == 1)).sum()),
        "epochs": len(trained.history["loss"]),
        "parameters": trained.network.count_params(),
        **seconds,
    }


def write_table(path: AnyPath, rows: Iterable[Mapping[str, object]]) -> None:
    """Write `rows` as CSV; where one lacks a column of the others, or has None, its cell is empty."""
    rows, text = list(rows), io.StringIO()
    columns = dict.fromkeys(name for row in rows for name in row)
    table = csv.DictWriter(text, list(columns), lineterminator="\n")
    table.writeheader()
    table.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    write_atomically(path, text.getvalue().encode())


class _Tuner(BaseTuner):  # type: ignore[misc,unused-ignore]
    def __init__(self, oracle: Whole, measure: Measure, out: AnyPath) -> None:
        self._measure, self._trials = measure, out / TRIALS_FOLDER
        self._key = oracle.get_space().get(KEY)
        oracle.verbose = 0
        oracle.folder = self._trials
        super().__init__(oracle)
        if self.is_worker:
            self.oracle = Client(oracle)
        elif (self._trials / ORACLE_FILE).is_file():
            self.reload()

    @property
    def is_worker(self) -> bool:
        return bool(self._is_worker())

    def search(self) -> None:
        """Run all trials; as the chief, have them run."""
        if is_chief_oracle():
            self.save()
            serve(self.oracle)
        else:
            super().search()

    def run_trial(self, trial: TunerTrial, *_: Any, **__: Any) -> Metrics:
        values = dict(trial.hyperparameters.values)
        try:
            if values.pop(KEY) != self._key:
                raise RecordsError("the chief runs another experiment: give it the same records and options")
            with self.oracle.beating(trial.trial_id) if self.is_worker else nullcontext():
                metrics = self._measure(values, self._folder(trial) / STATE_FILE)
        except tf.errors.ResourceExhaustedError as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        except Exception as error:
            # Keras Tuner would note it and try the next values; but it is a fault of ours, or of the records.
            raise keras_tuner.errors.FatalError(str(error)) from error
        if math.isnan(metrics[OBJECTIVE]):
            raise keras_tuner.errors.FailedTrialError("the loss is no number")
        return metrics

    def pre_create_trial(self) -> None:
        """A worker that has to wait asks again at once, without end."""
        if self.is_worker:
            time.sleep(0.1)

    def on_trial_end(self, trial: TunerTrial) -> None:
        """What the trial kept to go on from is of no use any more."""
        super().on_trial_end(trial)
        remove_tree(self._folder(trial))

    def save(self) -> None:
        """The tuner has no state but its oracle's."""
        if not self.is_worker:
            self.oracle.save()

    def reload(self) -> None:
        self.oracle.reload()
        if not is_chief_oracle():
            # Whoever was at work is not any more. A chief waits for them.
            for worker in list(self.oracle.ongoing_trials):
                self.oracle.release(worker)

    def _get_tuner_fname(self) -> str:
        # Keras Tuner would look for it where no object storage is: `__init__` reloads.
        return ""

    def _folder(self, trial: TunerTrial) -> AnyPath:
        return self._trials / f"trial_{trial.trial_id}"


def _outcome(trial: TunerTrial) -> Trial:
    values = {name: value for name, value in trial.hyperparameters.values.items() if name != KEY}
    done = trial.status == "COMPLETED"
    metrics = {name: float(trial.metrics.get_last_value(name)) for name in trial.metrics.metrics} if done else {}
    return Trial(name=trial.trial_id, values=values, metrics=metrics)


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value
