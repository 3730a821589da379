"""Run trials on Keras Tuner, for studies with listed trials and for tuning with chosen ones.

The same command resumes an interrupted search: a trial after its last complete epoch, the search after its last trial.
For several machines, run the same command on the same records and set Keras Tuner's variables: `KERASTUNER_ORACLE_IP`
and `KERASTUNER_ORACLE_PORT` of the chief, and `KERASTUNER_TUNER_ID`, which is `chief` on one machine and a unique name
on each worker. The chief does not train: it assigns the trials and writes the tables.
"""

import csv
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import keras
import keras_tuner
import tensorflow as tf
from pydantic import BaseModel, ConfigDict
from scipy.special import expit

from common.storage import AnyPath, locked, remove_tree, write_atomically
from common.terminal import escape_formula, say
from gate import Band
from training.data.image_table import LabelTable
from training.data.records import Records
from training.errors import DivergedError, RecordsError, SearchError
from training.evaluation.evaluate import evaluate
from training.model.preset import Preset
from training.model.train import STATE_FILE, predict_logits, train_network
from training.search.coordinator import ChiefClient, serve
from training.search.keras_tuner_adapter import AdaptedTuner, is_chief
from training.search.keras_tuner_adapter import Trial as TunerTrial
from training.search.oracles import KEY, OBJECTIVE, ORACLE_FILE, SingleFileOracle, TrialValues

TRIALS_FOLDER = "trials"
VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")

TrialMetrics = dict[str, float]
MeasureTrial = Callable[[TrialValues, AnyPath], TrialMetrics]
"""Runs one trial with these values and this checkpoint file; returns metrics that include `OBJECTIVE`."""


class TrialResult(BaseModel):
    """One finished trial; `metrics` is empty if it failed because of memory or a NaN loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    values: TrialValues
    metrics: TrialMetrics


def fingerprint(*parts: Any) -> str:
    """Hash the definition of an experiment, so that trials of two experiments are never mixed."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def run_trials(oracle: SingleFileOracle, measure: MeasureTrial, out: AnyPath) -> tuple[TrialResult, ...] | None:
    """Run the unfinished trials; return the results of all trials in the order of their start.

    Returns None in a worker, which knows only its own trials; the chief has all results.

    Raises:
        RecordsError: the folder or the chief belongs to another experiment.
        SearchError: one of Keras Tuner's variables is missing, or chief and workers cannot reach each other.
        StorageError: the state of the trials cannot be written or read.
    """
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing and len(missing) < len(VARIABLES):
        # Without an address, Keras Tuner would run a second search into the same folder.
        raise SearchError(f"{' and '.join(missing)} must be set as well, or none of {', '.join(VARIABLES)}")
    tuner = _TrialRunner(oracle, measure, out)
    try:
        with nullcontext() if tuner.is_worker else locked(out):
            tuner.search()
    except keras_tuner.errors.FatalError as error:
        raise error.__cause__ or error from None
    if tuner.is_worker:
        return None
    for name in oracle.trials:
        # Left by a process that was killed after the trial ended.
        remove_tree(out / TRIALS_FOLDER / f"trial_{name}")
    return tuple(_outcome(oracle.trials[name]) for name in oracle.start_order)


def train_and_measure(
    parts: tuple[Records, Records, Records],
    *,
    preset: Preset,
    seed: int,
    state: AnyPath,
    title: str,
    truth: LabelTable | None = None,
) -> TrialMetrics:
    """Train on the first part, stop early by the second and measure on the third; see `measure`.

    `seconds` is missing after an interruption, because the time before it is unknown.
    """
    train, validation, measured = parts
    interrupted, started = state.is_file(), time.monotonic()
    trained = train_network(train, validation, preset=preset, seed=seed, state=state, title=title)
    seconds = {} if interrupted else {"seconds": time.monotonic() - started}
    return {
        **measure(trained.network, measured, truth=truth),
        "epochs": len(trained.history["loss"]),
        "parameters": trained.network.count_params(),
        **seconds,
    }


def measure(network: keras.Model, records: Records, *, truth: LabelTable | None = None) -> TrialMetrics:
    """Measure a network on records; `truth` adds the metrics against other labels of the same images."""
    logits = predict_logits(network, records.images)
    found = evaluate(expit(logits), records.labels, Band())
    metrics = {
        "accuracy": found.accuracy.value,
        OBJECTIVE: found.log_loss.value,
        "images": len(records),
        "errors": int(((logits >= 0) != (records.labels == 1)).sum()),
    }
    if truth is None:
        return metrics
    found = evaluate(expit(logits), records.labelled_by(truth).labels, Band())
    return {**metrics, "true_accuracy": found.accuracy.value, f"true_{OBJECTIVE}": found.log_loss.value}


def write_table(path: AnyPath, rows: Iterable[Mapping[str, object]]) -> None:
    """Write `rows` as CSV; missing columns and None become empty cells."""
    rows, text = list(rows), io.StringIO()
    columns = dict.fromkeys(name for row in rows for name in row)
    table = csv.DictWriter(text, list(columns), lineterminator="\n")
    table.writeheader()
    table.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    write_atomically(path, text.getvalue().encode())


class _TrialRunner(AdaptedTuner):
    def __init__(self, oracle: SingleFileOracle, measure: MeasureTrial, out: AnyPath) -> None:
        self._measure, self._trials = measure, out / TRIALS_FOLDER
        self._key = oracle.get_space().get(KEY)
        oracle.verbose = 0
        oracle.folder = self._trials
        super().__init__(oracle)
        if self.is_worker:
            self.oracle = ChiefClient(oracle)
        elif (self._trials / ORACLE_FILE).is_file():
            self.reload()

    def search(self) -> None:
        """Run all trials; as the chief, assign them to workers."""
        if is_chief():
            self.save()
            serve(self.oracle)
        else:
            super().search()

    def run_trial(self, trial: TunerTrial, *_: Any, **__: Any) -> TrialMetrics:
        values = dict(trial.hyperparameters.values)
        try:
            if values.pop(KEY) != self._key:
                raise RecordsError("the chief runs another experiment: use the same records and options")
            with self.oracle.beating(trial.trial_id) if self.is_worker else nullcontext():
                metrics = self._measure(values, self._folder(trial) / STATE_FILE)
        except (tf.errors.ResourceExhaustedError, DivergedError) as error:
            say(f"trial {trial.trial_id} failed: {error}", error=True)
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        except Exception as error:
            # Keras Tuner would record a failed trial, but other errors are bugs or faults of the records.
            raise keras_tuner.errors.FatalError(str(error)) from error
        return metrics

    def pre_create_trial(self) -> None:
        """Pause, because a waiting worker polls without a delay of its own."""
        if self.is_worker:
            time.sleep(0.1)

    def on_trial_end(self, trial: TunerTrial) -> None:
        """Delete the checkpoint of the finished trial."""
        super().on_trial_end(trial)
        remove_tree(self._folder(trial))

    def save(self) -> None:
        """Save the oracle, which is the only state."""
        if not self.is_worker:
            self.oracle.save()

    def reload(self) -> None:
        self.oracle.reload()
        if not is_chief():
            # Without a chief, no worker is running after a restart. A chief waits for its workers.
            for worker in list(self.oracle.ongoing_trials):
                self.oracle.release(worker)

    def _folder(self, trial: TunerTrial) -> AnyPath:
        return self._trials / f"trial_{trial.trial_id}"


def _outcome(trial: TunerTrial) -> TrialResult:
    values = {name: value for name, value in trial.hyperparameters.values.items() if name != KEY}
    done = trial.status == "COMPLETED"
    metrics = {name: float(trial.metrics.get_last_value(name)) for name in trial.metrics.metrics} if done else {}
    return TrialResult(name=trial.trial_id, values=values, metrics=metrics)


def _cell(value: object) -> object:
    if not isinstance(value, float):
        return escape_formula(value)
    # Metrics are floats, also the number of parameters.
    return int(value) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
