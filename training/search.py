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
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
import tensorflow as tf
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial as TunerTrial
from pydantic import BaseModel, ConfigDict
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

from gate import Band
from gate.models import write_whole
from training.errors import RecordsError
from training.evaluate import evaluate
from training.fit import STATE_FILE, predict_logits, train_network
from training.preset import Preset
from training.records import Records

OBJECTIVE = "log_loss"
TRIALS_FOLDER = "trials"

Value = bool | int | float | str
Values = dict[str, Value]
Metrics = dict[str, float]
Measure = Callable[[Values, Path], Metrics]
"""Runs one trial with these values, keeping its state in this file; its metrics, `OBJECTIVE` among them."""

_KEY = "experiment"


class Trial(BaseModel):
    """One trial that came to an end; without metrics where it failed: out of memory, or a loss that is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    values: Values
    metrics: Metrics


def fingerprint(*parts: Any) -> str:
    """What tells one experiment from another: trials of two are never mixed."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def listed(cases: Sequence[Values], *, key: str) -> keras_tuner.Oracle:
    """Trials that are known beforehand, in this order. A longer list that begins the same goes on from a shorter."""
    space = keras_tuner.HyperParameters()
    space.Fixed(_KEY, key)
    return _Listed(cases, max_trials=len(cases), **_common(space))


def random(space: keras_tuner.HyperParameters, *, key: str, trials: int, seed: int) -> keras_tuner.Oracle:
    """So many trials drawn from `space`, the first with its defaults."""
    space.Fixed(_KEY, key)
    return _Random(max_trials=trials, seed=seed + 1, **_common(space))


def bayesian(space: keras_tuner.HyperParameters, *, key: str, trials: int, seed: int) -> keras_tuner.Oracle:
    """So many trials, the first with the defaults of `space`, a third drawn, the others where a model of the
    objective expects the least.
    """
    space.Fixed(_KEY, key)
    # Keras Tuner would draw three times as many as there are settings: here, all of them.
    drawn = max(2, trials // 3)
    return _Bayesian(max_trials=trials, num_initial_points=drawn, seed=seed + 1, **_common(space))


def hyperband(space: keras_tuner.HyperParameters, *, key: str, epochs: int, seed: int) -> keras_tuner.Oracle:
    """Many trials of few epochs and few of up to `epochs`; how many follows from that. `tuner/epochs` is a value."""
    space.Fixed(_KEY, key)
    return _Hyperband(max_epochs=epochs, seed=seed + 1, **_common(space))


def run_trials(oracle: keras_tuner.Oracle, measure: Measure, out: Path) -> tuple[Trial, ...] | None:
    """Run all trials that are not done yet; what came of all of them, in the order they were begun.

    None in a worker, which knows only its own: the chief has them all.

    Raises:
        RecordsError: the folder holds the trials of another experiment, or the chief runs another.
    """
    tuner = _Tuner(oracle, measure, out)
    try:
        tuner.search()
    except keras_tuner.errors.FatalError as error:
        raise error.__cause__ or error from None
    if tuner.is_worker:
        return None
    for left in (out / TRIALS_FOLDER).glob("trial_*"):
        # It was killed after its end.
        shutil.rmtree(left, ignore_errors=True)
    return tuple(_outcome(oracle.trials[name]) for name in oracle.start_order)


def train_and_measure(
    parts: tuple[Records, Records, Records], *, preset: Preset, seed: int, state: Path, title: str
) -> Metrics:
    """Train on the first part, stop by the second and measure on the third.

    There are no `seconds` where the training was interrupted: nobody knows how long it took before.
    """
    train, validation, measured = parts
    interrupted, started = state.exists(), time.monotonic()
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


def write_table(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write `rows` as CSV; where one lacks a column of the others, or has None, its cell is empty."""
    rows, text = list(rows), io.StringIO()
    columns = dict.fromkeys(name for row in rows for name in row)
    table = csv.DictWriter(text, list(columns), lineterminator="\n")
    table.writeheader()
    table.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    write_whole(path, text.getvalue().encode())


class _Whole(keras_tuner.Oracle):  # type: ignore[misc,unused-ignore]
    """An oracle whose state and trials are one file, replaced at once.

    Keras Tuner writes them to several, one after the other and in place: a kill between leaves trials that are never
    run, or run twice, or a file that cannot be read.
    """

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "trials": {name: trial.get_state() for name, trial in self.trials.items()}}

    def set_state(self, state: dict[str, Any]) -> None:
        if state["hyperparameters"] != json.loads(json.dumps(self.hyperparameters.get_config())):
            raise RecordsError(f"{self._project_dir} holds trials of another experiment: choose another folder")
        self.trials = {name: TunerTrial.from_state(trial) for name, trial in state["trials"].items()}
        super().set_state(state)
        # What was being run is run again; what had just ended still stands among the ongoing.
        ongoing = [self.trials[name] for name in state["ongoing_trials"].values()]
        self._retry_queue += [one.trial_id for one in ongoing if one.status == "RUNNING"]
        self.ongoing_trials.clear()

    def save(self) -> None:
        write_whole(Path(self._get_oracle_fname()), json.dumps(self.get_state()).encode())

    def reload(self) -> None:
        self.set_state(json.loads(Path(self._get_oracle_fname()).read_bytes()))

    def _save_trial(self, trial: TunerTrial) -> None:
        """`save`, which always follows, writes it."""


class _DefaultsFirst(_Whole):
    """Tries what is there before anything else, so that the best is never worse."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if self.trials:
            found: dict[str, Any] = super().populate_space(trial_id)
            return found
        return {"status": "RUNNING", "values": dict(self.get_space().values)}


class _Random(_DefaultsFirst, keras_tuner.oracles.RandomSearchOracle):  # type: ignore[misc,unused-ignore]
    pass


class _Bayesian(_DefaultsFirst, keras_tuner.oracles.BayesianOptimizationOracle):  # type: ignore[misc,unused-ignore]
    def populate_space(self, trial_id: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            # Of few trials it may well find that a setting makes no difference, or all the difference there is.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return super().populate_space(trial_id)


class _Hyperband(_Whole, keras_tuner.oracles.HyperbandOracle):  # type: ignore[misc,unused-ignore]
    pass


class _Listed(_Whole):
    def __init__(self, cases: Sequence[Values], **options: Any) -> None:
        super().__init__(**options)
        self._cases = cases

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        del trial_id
        return {"status": "RUNNING", "values": {**self.get_space().values, **self._cases[len(self.trials)]}}


class _Tuner(BaseTuner):  # type: ignore[misc,unused-ignore]
    def __init__(self, oracle: keras_tuner.Oracle, measure: Measure, out: Path) -> None:
        self._measure = measure
        self._key = oracle.get_space().get(_KEY)
        oracle.verbose = 0
        super().__init__(oracle, directory=str(out), project_name=TRIALS_FOLDER)

    @property
    def is_worker(self) -> bool:
        return bool(self._is_worker())

    def run_trial(self, trial: TunerTrial, *_: Any, **__: Any) -> Metrics:
        values = dict(trial.hyperparameters.values)
        try:
            if values.pop(_KEY) != self._key:
                raise RecordsError("the chief runs another experiment: give it the same records and options")
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
        shutil.rmtree(self._folder(trial), ignore_errors=True)

    def save(self) -> None:
        """The tuner has no state but its oracle's."""
        if not self.is_worker:
            self.oracle.save()

    def reload(self) -> None:
        if not self.is_worker:
            self.oracle.reload()

    def _get_tuner_fname(self) -> str:
        # That it exists makes the tuner reload; another process may have been called otherwise.
        return str(Path(self.project_dir) / "oracle.json")

    def _folder(self, trial: TunerTrial) -> Path:
        return Path(self.get_trial_dir(trial.trial_id))


def _common(space: keras_tuner.HyperParameters) -> dict[str, Any]:
    return {
        "objective": keras_tuner.Objective(OBJECTIVE, "min"),
        "hyperparameters": space,
        # A chief that raises an error keeps its lock, and its workers wait for ever.
        "max_consecutive_failed_trials": math.inf,
    }


def _outcome(trial: TunerTrial) -> Trial:
    values = {name: value for name, value in trial.hyperparameters.values.items() if name != _KEY}
    done = trial.status == "COMPLETED"
    metrics = {name: float(trial.metrics.get_last_value(name)) for name in trial.metrics.metrics} if done else {}
    return Trial(name=trial.trial_id, values=values, metrics=metrics)


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value
