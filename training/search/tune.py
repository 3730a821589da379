"""Tune settings and choose the best by validation log loss.

Like the paper: tune the architecture first, then the learning rate of the best architecture.
"""

import json
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import keras_tuner
from pydantic import BaseModel, ConfigDict

from common.storage import AnyPath, write_atomically
from training.data.dataset import Split
from training.data.records import Manifest, Records, load_parts
from training.errors import DataError, TrainingError
from training.model.preset import Preset
from training.search.oracles import OBJECTIVE, SingleFileOracle, TrialValues, bayesian, hyperband, random
from training.search.trials import (
    MeasureTrial,
    TrialMetrics,
    TrialResult,
    fingerprint,
    run_trials,
    train_and_measure,
    write_table,
)

BEST_FILE = "best.json"
TRIALS = 10

TuningTarget = Literal["architecture", "learning-rate"]
Algorithm = Literal["random", "hyperband", "bayesian"]


class TuningResult(BaseModel):
    """All trials, the best one, and its settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: tuple[TrialResult, ...]
    best: TrialResult
    settings: dict[str, float | int | str | bool]


def tune(
    records: AnyPath,
    out: AnyPath,
    *,
    target: TuningTarget,
    start: Preset,
    algorithm: Algorithm = "random",
    trials: int | None = None,
    seed: int = 0,
) -> TuningResult | None:
    """Try settings around `start`, all with the same seed; write `trials.csv` and `best.json` to `out`.

    A second run resumes; more trials extend the search. Returns None in a worker (see `training.search.trials`).

    Args:
        records: prepared at the size of `start`.
        out: folder to write to; a shared folder may serve all machines.
        target: the settings to search.
        start: all other settings, and the first trial (except for hyperband). The learning rate target always uses the
            exponential schedule.
        algorithm: the search algorithm.
        trials: number of trials, 10 if None. Hyperband derives it from the epochs of `start`.
        seed: seed of the search and of every training run.

    Raises:
        DataError: `trials` is set for hyperband.
        RecordsError: the records lack this size, or `out` holds the trials of another experiment.
        TrainingError: all trials failed.
    """
    prepared = Manifest.read(records).fingerprint()
    key = fingerprint(prepared, target, algorithm, seed, start.settings())
    oracle = _oracle(algorithm, SPACES[target](start), key=key, trials=trials, seed=seed, epochs=start.epochs)
    results = run_trials(oracle, _measure(records, prepared, target, start, seed=seed), out)
    return None if results is None else _written(results, out, target, start)


def _measure(records: AnyPath, prepared: str, target: TuningTarget, start: Preset, *, seed: int) -> MeasureTrial:
    @cache
    def parts() -> tuple[Records, Records, Records]:
        # Loaded at the first trial, because a chief needs no records.
        train, validation = load_parts(records, Split.TRAIN, Split.VALIDATION, size=start.size, fingerprint=prepared)
        return train, validation, validation

    def measure(values: TrialValues, state: AnyPath) -> TrialMetrics:
        # Hyperband's longer trials start again, because a schedule may depend on the number of epochs.
        preset = _preset(target, start, values).changed(epochs=values.get("tuner/epochs"))
        title = ", ".join(f"{name} {value}" for name, value in values.items() if "/" not in name)
        return train_and_measure(parts(), preset=preset, seed=seed, state=state, title=title)

    return measure


def _oracle(
    algorithm: Algorithm,
    space: keras_tuner.HyperParameters,
    *,
    key: str,
    trials: int | None,
    seed: int,
    epochs: int,
) -> SingleFileOracle:
    if algorithm != "hyperband":
        choose = random if algorithm == "random" else bayesian
        return choose(space, key=key, trials=trials or TRIALS, seed=seed)
    if trials is not None:
        raise DataError("hyperband chooses the number of trials itself: omit --trials")
    return hyperband(space, key=key, epochs=epochs, seed=seed)


def _architecture(start: Preset) -> keras_tuner.HyperParameters:
    space = keras_tuner.HyperParameters()
    space.Choice("blocks", _with(len(start.filters), 2, 3, 4), default=len(start.filters))
    space.Choice("filters", _with(start.filters[0], 8, 16, 32), default=start.filters[0])  # of the first block
    space.Choice("kernel", _with(start.kernel, 3, 5), default=start.kernel)
    space.Choice("pooling", ["max", "average"], default=start.pooling)
    space.Choice("dropout", _with(start.dropout, 0.0, 0.25, 0.5), default=start.dropout)
    space.Choice("dense", _with(start.dense, 0, 64, 128), default=start.dense)
    return space


def _learning_rate(start: Preset) -> keras_tuner.HyperParameters:
    space = keras_tuner.HyperParameters()
    space.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=start.learning_rate)
    space.Float("decay_rate", 0.5, 1.0, default=start.decay_rate)
    space.Int("decay_steps", 50, 500, sampling="log", default=start.decay_steps)
    return space


SPACES: dict[TuningTarget, Callable[[Preset], keras_tuner.HyperParameters]] = {
    "architecture": _architecture,
    "learning-rate": _learning_rate,
}


def _preset(target: TuningTarget, start: Preset, values: TrialValues) -> Preset:
    """Apply the values of a trial to `start`, rounded to three significant digits."""
    chosen: dict[str, Any] = {name: value for name, value in values.items() if "/" not in name}
    if target == "architecture":
        first, blocks = chosen.pop("filters"), chosen.pop("blocks")
        # Each block doubles the filters, because pooling leaves a quarter of the positions.
        return start.changed(**chosen, filters=tuple(first * 2**block for block in range(blocks)))
    return start.changed(schedule="exponential", **_rounded(chosen))


def _rounded(values: TrialValues) -> TrialValues:
    return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in values.items()}


def _with(value: Any, *others: Any) -> list[Any]:
    return sorted({value, *others})


def _written(trials: tuple[TrialResult, ...], out: AnyPath, target: TuningTarget, start: Preset) -> TuningResult:
    if target == "learning-rate":
        trials = tuple(trial.model_copy(update={"values": _rounded(trial.values)}) for trial in trials)
    finished = [trial for trial in trials if trial.metrics]
    if not finished:
        raise TrainingError(f"all {len(trials)} trials failed: use fewer filters or a smaller learning rate")
    best = min(finished, key=lambda trial: trial.metrics[OBJECTIVE])
    settings = _preset(target, start, best.values).settings()
    columns = ("accuracy", OBJECTIVE, "seconds", "epochs", "parameters")
    write_table(
        out / "trials.csv",
        [
            {"trial": trial.name, **trial.values, **{name: trial.metrics.get(name) for name in columns}}
            for trial in trials
        ],
    )
    write_atomically(out / BEST_FILE, json.dumps(settings, indent=2).encode())
    return TuningResult(trials=trials, best=best, settings=settings)
