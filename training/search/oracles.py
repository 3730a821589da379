"""Choose trials with Keras Tuner's oracles; each oracle is stored atomically in one file."""

import json
import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras_tuner
from sklearn.exceptions import ConvergenceWarning

from common.storage import AnyPath, write_atomically
from training.errors import RecordsError
from training.search.keras_tuner_adapter import AdaptedOracle
from training.search.keras_tuner_adapter import Trial as TunerTrial

KEY = "experiment"
OBJECTIVE = "log_loss"
ORACLE_FILE = "oracle.json"

TrialValue = bool | int | float | str
TrialValues = dict[str, TrialValue]


def listed(cases: Sequence[TrialValues], *, key: str) -> "SingleFileOracle":
    """Create an oracle for the given trials in order; a longer list resumes a shorter one with the same start."""
    space = keras_tuner.HyperParameters()
    return _Listed(cases, max_trials=len(cases), **_oracle_options(space, key))


def random(space: keras_tuner.HyperParameters, *, key: str, trials: int, seed: int) -> "SingleFileOracle":
    """Create a random search over `space`; the first trial has its defaults."""
    return _Random(max_trials=trials, seed=seed + 1, **_oracle_options(space, key))


def bayesian(space: keras_tuner.HyperParameters, *, key: str, trials: int, seed: int) -> "SingleFileOracle":
    """Create a Bayesian search; the first trial has the defaults of `space`.

    A third of the trials are random, and a model of the objective chooses the others.
    """
    # Keras Tuner's default is three random trials per setting, which here is all of them.
    drawn = max(2, trials // 3)
    return _Bayesian(max_trials=trials, num_initial_points=drawn, seed=seed + 1, **_oracle_options(space, key))


def hyperband(space: keras_tuner.HyperParameters, *, key: str, epochs: int, seed: int) -> "SingleFileOracle":
    """Create a Hyperband search: many short trials, few of up to `epochs`; the value `tuner/epochs` is the length."""
    return _Hyperband(max_epochs=epochs, seed=seed + 1, **_oracle_options(space, key))


class SingleFileOracle(AdaptedOracle):
    """An oracle that stores its state and trials in one file in `folder`, written atomically.

    Keras Tuner writes several files in place: after a kill, trials may be lost or repeated, or a file unreadable.
    `over` means that all trials have been chosen.
    """

    folder: AnyPath
    over = False

    def create_trial(self, tuner_id: str) -> TunerTrial:
        """Return the worker's current trial, an abandoned trial, or a new one.

        Without a new trial, the worker waits while others are running, because they may abandon theirs. The choice
        is over then: the number of requests must not influence the random choice.
        """
        if self.over and not self.retry_queue and tuner_id not in self.ongoing_trials:
            trial = TunerTrial(self.get_space(), trial_id="", status="STOPPED")
        else:
            trial = super().create_trial(tuner_id)
        if trial.status == "RUNNING":
            # Metrics of an interrupted attempt do not count.
            trial.metrics = type(trial.metrics)()
        if trial.status == "STOPPED":
            self._end_choice()
            trial.status = "IDLE" if self.ongoing_trials else "STOPPED"
        return trial

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> TunerTrial:
        """Store the metrics of a running trial and save: a restarted chief may receive the end of it."""
        if trial_id not in self.end_order:
            super().update_trial(trial_id, metrics, step)
            self.save()
        return self.trials[trial_id]

    def end_trial(self, trial: TunerTrial) -> None:
        """Accept the first end of a trial; a reassigned trial may end twice.

        An end without metrics is ignored as well: they were dropped on reassignment, and the new worker ends the trial.
        """
        known = self.trials[trial.trial_id].metrics.exists(OBJECTIVE)
        if trial.trial_id in self.end_order or (trial.status == "COMPLETED" and not known):
            return
        if trial.trial_id in self.retry_queue:
            self.retry_queue.remove(trial.trial_id)
        super().end_trial(trial)

    def release(self, tuner_id: str) -> str:
        """Queue the trial of a dead worker for another one; return its name."""
        name: str = self.ongoing_trials.pop(tuner_id).trial_id
        self.retry_queue.append(name)
        return name

    def get_state(self) -> dict[str, Any]:
        trials = {name: trial.get_state() for name, trial in self.trials.items()}
        return {**super().get_state(), "trials": trials, "over": self.over, "max_trials": self.max_trials}

    def set_state(self, state: dict[str, Any]) -> None:
        if state["hyperparameters"] != json.loads(json.dumps(self.hyperparameters.get_config())):
            raise RecordsError(f"{self.folder} holds trials of another experiment: choose another folder")
        self.trials = {name: TunerTrial.from_state(trial) for name, trial in state["trials"].items()}
        super().set_state(state)
        # Trials that ended just before the save are still listed as ongoing.
        self.ongoing_trials = {
            worker: trial for worker, trial in self.ongoing_trials.items() if trial.status == "RUNNING"
        }
        # With a larger limit than before, the choice continues.
        self.over = bool(state.get("over")) and state.get("max_trials") == self.max_trials

    def save(self) -> None:
        write_atomically(self.folder / ORACLE_FILE, json.dumps(self.get_state()).encode())

    def reload(self) -> None:
        path = self.folder / ORACLE_FILE
        try:
            self.set_state(json.loads(path.read_bytes()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordsError(f"{path} is damaged or of another release: choose another folder") from error

    def _end_choice(self) -> None:
        if not self.over:
            self.over = True
            self.save()


class _DefaultsFirst(SingleFileOracle):
    """Tries the defaults first, so that the best trial is never worse than they are."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if self.trials:
            chosen: dict[str, Any] = super().populate_space(trial_id)
            return chosen
        return {"status": "RUNNING", "values": dict(self.get_space().values)}


class _Random(_DefaultsFirst, keras_tuner.oracles.RandomSearchOracle):  # type: ignore[misc,unused-ignore]
    pass


class _Bayesian(_DefaultsFirst, keras_tuner.oracles.BayesianOptimizationOracle):  # type: ignore[misc,unused-ignore]
    def populate_space(self, trial_id: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            # With few trials the fit of the model often stops at the bounds of its parameters.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return super().populate_space(trial_id)


class _Hyperband(SingleFileOracle, keras_tuner.oracles.HyperbandOracle):  # type: ignore[misc,unused-ignore]
    pass


class _Listed(SingleFileOracle):
    def __init__(self, cases: Sequence[TrialValues], **options: Any) -> None:
        super().__init__(**options)
        self._cases = cases

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        del trial_id
        return {"status": "RUNNING", "values": {**self.get_space().values, **self._cases[len(self.trials)]}}


def _oracle_options(space: keras_tuner.HyperParameters, key: str) -> dict[str, Any]:
    """Return the options of every oracle; the key becomes a fixed value of `space`, so that each trial has it."""
    space.Fixed(KEY, key)
    return {
        "objective": keras_tuner.Objective(OBJECTIVE, "min"),
        "hyperparameters": space,
        # Failed trials are only recorded; other errors end the search and are not counted as failed trials.
        "max_consecutive_failed_trials": math.inf,
    }
