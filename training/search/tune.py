"""Tuning: what is tried, and the best of it by the log loss of the validation split.

As the paper, first the architecture, and then, from the best one found, how fast it learns.
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
from training.search.oracles import OBJECTIVE, Values, Whole, bayesian, hyperband, random
from training.search.trials import Metrics, Trial, fingerprint, run_trials, train_and_measure, write_table

BEST_FILE = "best.json"
TRIALS = 10

Target = Literal["architecture", "learning-rate"]
Algorithm = Literal["random", "hyperband", "bayesian"]


class Tuned(BaseModel):
    """All trials, the best of them, and the settings that gave it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: tuple[Trial, ...]
    best: Trial
    settings: dict[str, float | int | str | bool]


def tune(
    records: AnyPath,
    out: AnyPath,
    *,
    target: Target,
    start: Preset,
    algorithm: Algorithm = "random",
    trials: int | None = None,
    seed: int = 0,
) -> Tuned | None:
    """Try settings around `start` and write `trials.csv` and `best.json` into `out`; all train with the same seed.

    Run again it goes on; with more trials it adds to what is there. None in a worker (see `search`).

    Args:
        records: prepared ones, at the size of `start`.
        out: folder to write into; the same for all machines, if they all reach it.
        target: what is tried.
        start: holds everything else, and is itself the first trial (but of hyperband). The learning rate's schedule
            is the exponential one, whichever it has.
        algorithm: how what is tried is chosen.
        trials: how many; 10 where it is None. Hyperband settles that itself, by the epochs of `start`.
        seed: of the choice and of every training.

    Raises:
        DataError: `trials` were given to hyperband.
        RecordsError: the records do not have this size, or `out` holds the trials of something else.
        TrainingError: not one trial came to a result.
    """
    prepared = Manifest.read(records).fingerprint()
    key = fingerprint(prepared, target, algorithm, seed, start.settings())
    oracle = _oracle(algorithm, SPACES[target](start), key=key, trials=trials, seed=seed, epochs=start.epochs)

    @cache
    def parts() -> tuple[Records, Records, Records]:
        # Not before the first trial: a chief needs none.
        train, validation = load_parts(records, Split.TRAIN, Split.VALIDATION, size=start.size, fingerprint=prepared)
        return train, validation, validation

    def measure(values: Values, state: AnyPath) -> Metrics:
        # Hyperband's longer trials begin anew: what an epoch does may depend on how many there are to be.
        preset = _preset(target, start, values).changed(epochs=values.get("tuner/epochs"))
        title = ", ".join(f"{name} {value}" for name, value in values.items() if "/" not in name)
        return train_and_measure(parts(), preset=preset, seed=seed, state=state, title=title)

    found = run_trials(oracle, measure, out)
    return None if found is None else _written(found, out, target, start)


def _oracle(
    algorithm: Algorithm,
    space: keras_tuner.HyperParameters,
    *,
    key: str,
    trials: int | None,
    seed: int,
    epochs: int,
) -> Whole:
    if algorithm != "hyperband":
        choose = random if algorithm == "random" else bayesian
        return choose(space, key=key, trials=trials or TRIALS, seed=seed)
    if trials is not None:
        raise DataError("hyperband settles itself how many trials it takes: leave out --trials")
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


SPACES: dict[Target, Callable[[Preset], keras_tuner.HyperParameters]] = {
    "architecture": _architecture,
    "learning-rate": _learning_rate,
}


def _preset(target: Target, start: Preset, values: Values) -> Preset:
    """`start` with what was drawn, rounded to figures that can be read and typed."""
    chosen: dict[str, Any] = {name: value for name, value in values.items() if "/" not in name}
    if target == "architecture":
        first, blocks = chosen.pop("filters"), chosen.pop("blocks")
        # Each block has twice the filters of the one before, as it has a quarter of the places.
        return start.changed(**chosen, filters=tuple(first * 2**block for block in range(blocks)))
    rounded = {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in chosen.items()}
    return start.changed(schedule="exponential", **rounded)


def _with(value: Any, *others: Any) -> list[Any]:
    return sorted({value, *others})


def _written(trials: tuple[Trial, ...], out: AnyPath, target: Target, start: Preset) -> Tuned:
    finished = [trial for trial in trials if trial.metrics]
    if not finished:
        raise TrainingError(f"not one of {len(trials)} trials came to a result: take less filters, or a smaller rate")
    best = min(finished, key=lambda trial: trial.metrics[OBJECTIVE])
    settings = _preset(target, start, best.values).settings()
    columns = ("accuracy", OBJECTIVE, "seconds", "epochs", "parameters")
    write_table(
        out / "trials.csv",
        [{"trial": one.name, **one.values, **{name: one.metrics.get(name) for name in columns}} for one in trials],
    )
    write_atomically(out / BEST_FILE, json.dumps(settings, indent=2).encode())
    return Tuned(trials=trials, best=best, settings=settings)
