"""How trials are chosen: Keras Tuner's oracles, each kept whole in one file, and every trial counted once."""

import json
import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial as TunerTrial
from sklearn.exceptions import ConvergenceWarning

from common.storage import AnyPath, write_atomically
from training.errors import RecordsError

KEY = "experiment"
OBJECTIVE = "log_loss"
ORACLE_FILE = "oracle.json"

Value = bool | int | float | str
Values = dict[str, Value]


def listed(cases: Sequence[Values], *, key: str) -> "Whole":
    """Trials that are known beforehand, in this order. A longer list that begins the same goes on from a shorter."""
    space = keras_tuner.HyperParameters()
    space.Fixed(KEY, key)
    return _Listed(cases, max_trials=len(cases), **_common(space))


def random(space: keras_tuner.HyperParameters, *, key: str, trials: int, seed: int) -> "Whole":
    """So many trials drawn from `space`, the first with its defaults."""
    space.Fixed(KEY, key)
    return _Random(max_trials=trials, seed=seed + 1, **_common(space))


def bayesian(space: keras_tuner.HyperParameters, *, key: str, trials: int, seed: int) -> "Whole":
    """So many trials, the first with the defaults of `space`, a third drawn, the others where a model of the
    objective expects the least.
    """
    space.Fixed(KEY, key)
    # Keras Tuner would draw three times as many as there are settings: here, all of them.
    drawn = max(2, trials // 3)
    return _Bayesian(max_trials=trials, num_initial_points=drawn, seed=seed + 1, **_common(space))


def hyperband(space: keras_tuner.HyperParameters, *, key: str, epochs: int, seed: int) -> "Whole":
    """Many trials of few epochs and few of up to `epochs`; how many follows from that. `tuner/epochs` is a value."""
    space.Fixed(KEY, key)
    return _Hyperband(max_epochs=epochs, seed=seed + 1, **_common(space))


class Whole(keras_tuner.Oracle):  # type: ignore[misc,unused-ignore]
    """An oracle whose state and trials are one file in `folder`, replaced at once.

    Keras Tuner writes them to several, one after the other and in place: a kill between leaves trials that are never
    run, or run twice, or a file that cannot be read. `over` says that all trials have been chosen.
    """

    folder: AnyPath
    over = False
    ongoing_trials: dict[str, TunerTrial]

    def create_trial(self, tuner_id: str) -> TunerTrial:
        """The trial that this worker is at, one that another worker left, or a new one.

        Where no new one is to be had, who asks waits while others are at work: they may leave theirs. The choice is
        over then: how often it is asked must not decide what is drawn.
        """
        if self.over and not self._retry_queue and tuner_id not in self.ongoing_trials:
            trial = TunerTrial(self.get_space(), trial_id="", status="STOPPED")
        else:
            trial = super().create_trial(tuner_id)
        if trial.status == "RUNNING":
            # Nothing counts of a run that was cut off.
            trial.metrics = type(trial.metrics)()
        if trial.status == "STOPPED":
            self._end_choice()
            trial.status = "IDLE" if self.ongoing_trials else "STOPPED"
        return trial

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> TunerTrial:
        """Take the metrics of a trial that has not ended, and keep them: its end may be told to another chief."""
        if trial_id not in self.end_order:
            super().update_trial(trial_id, metrics, step)
            self.save()
        return self.trials[trial_id]

    def end_trial(self, trial: TunerTrial) -> None:
        """The first end of a trial counts: after it was given to another worker there may be two.

        Nor does one count whose metrics were dropped as it was given out again: whoever has it now ends it.
        """
        known = self.trials[trial.trial_id].metrics.exists(OBJECTIVE)
        if trial.trial_id in self.end_order or (trial.status == "COMPLETED" and not known):
            return
        if trial.trial_id in self._retry_queue:
            self._retry_queue.remove(trial.trial_id)
        super().end_trial(trial)

    def release(self, tuner_id: str) -> str:
        """Have the trial of a worker that is gone run by another; its name."""
        name: str = self.ongoing_trials.pop(tuner_id).trial_id
        self._retry_queue.append(name)
        return name

    def get_state(self) -> dict[str, Any]:
        trials = {name: trial.get_state() for name, trial in self.trials.items()}
        return {**super().get_state(), "trials": trials, "over": self.over, "max_trials": self.max_trials}

    def set_state(self, state: dict[str, Any]) -> None:
        if state["hyperparameters"] != json.loads(json.dumps(self.hyperparameters.get_config())):
            raise RecordsError(f"{self.folder} holds trials of another experiment: choose another folder")
        self.trials = {name: TunerTrial.from_state(trial) for name, trial in state["trials"].items()}
        super().set_state(state)
        # What had just ended still stands among the ongoing.
        self.ongoing_trials = {one: trial for one, trial in self.ongoing_trials.items() if trial.status == "RUNNING"}
        # With more trials than then the choice goes on.
        self.over = bool(state.get("over")) and state.get("max_trials") == self.max_trials

    def save(self) -> None:
        write_atomically(self.folder / ORACLE_FILE, json.dumps(self.get_state()).encode())

    def reload(self) -> None:
        self.set_state(json.loads((self.folder / ORACLE_FILE).read_bytes()))

    def _save_trial(self, trial: TunerTrial) -> None:
        """`save`, which always follows, writes it."""

    def _end_choice(self) -> None:
        if not self.over:
            self.over = True
            self.save()


class _DefaultsFirst(Whole):
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


class _Hyperband(Whole, keras_tuner.oracles.HyperbandOracle):  # type: ignore[misc,unused-ignore]
    pass


class _Listed(Whole):
    def __init__(self, cases: Sequence[Values], **options: Any) -> None:
        super().__init__(**options)
        self._cases = cases

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        del trial_id
        return {"status": "RUNNING", "values": {**self.get_space().values, **self._cases[len(self.trials)]}}


def _common(space: keras_tuner.HyperParameters) -> dict[str, Any]:
    return {
        "objective": keras_tuner.Objective(OBJECTIVE, "min"),
        "hyperparameters": space,
        # A trial that fails is noted, however many do: what else is wrong is never reported as one.
        "max_consecutive_failed_trials": math.inf,
    }
