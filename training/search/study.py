"""Studies: one setting varied and everything else held, with several seeds each. The paper ran each once."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from common.storage import AnyPath, write_atomically
from training.data.dataset import Split
from training.data.records import Manifest, Records, join, load_parts, read_sources
from training.errors import RecordsError
from training.evaluation.compare import LEVEL, holm, paired_p, t_interval
from training.model.preset import PRESETS, SIZES, Preset
from training.search.oracles import Values, listed
from training.search.trials import Measure, Metrics, Trial, fingerprint, run_trials, train_and_measure, write_table

BATCH_SIZES = (32, 64, 128)
_NOT_TEST = (Split.TRAIN, Split.VALIDATION, Split.CALIBRATION)

Kind = Literal["resolution", "batch-size", "sources", "presets"]
Parts = tuple[Records, Records, Records]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Run(_Part):
    """One training; accuracy and log loss are those of the validation split, or of the source that was left out.

    `seconds` is None where it was interrupted; `bytes` is what the records take at its size.
    """

    value: str
    seed: int
    accuracy: float
    log_loss: float
    seconds: float | None
    epochs: int
    parameters: int
    bytes: int
    images: int
    errors: int


class Mean(_Part):
    """A mean over seeds with its 95 % t-interval, which takes two of them."""

    value: float
    low: float | None = None
    high: float | None = None


class Summary(_Part):
    """All runs with one value. The standard error is what so many images leave open, however many seeds there are."""

    value: str
    runs: int
    accuracy: Mean
    log_loss: Mean
    seconds: float | None
    bytes: int
    images: int
    standard_error: float


class Difference(_Part):
    """How much larger a metric is with `second` than with `first`, over the seeds both have.

    It is `real` where p, corrected for all pairs of values, says that other seeds would hardly undo it.
    """

    metric: str
    first: str
    second: str
    mean: float
    p: float
    real: bool


class Study(_Part):
    """What a study found."""

    kind: Kind
    records: str
    settings: dict[str, float | int | str | bool]
    runs: tuple[Run, ...]
    failed: tuple[str, ...]
    summaries: tuple[Summary, ...]
    differences: tuple[Difference, ...]


def run_study(
    records: AnyPath, out: AnyPath, *, kind: Kind, preset: Preset, seeds: int, epochs: int | None = None
) -> Study | None:
    """Train with each value and the seeds from 0 on; write `study.csv` and `study.json` into `out`.

    Run again it goes on; with more seeds it adds to what is there. None in a worker (see `search`).

    Args:
        records: prepared ones, at the size of `preset`, or at several for their study.
        out: folder to write into; the same for all machines, if they all reach it.
        kind: what is varied; `sources` leaves out one after the other and measures on it.
        preset: holds everything else.
        seeds: trainings with each value.
        epochs: at most so many, instead of those of a preset.

    Raises:
        RecordsError: the records have too little to vary, or `out` holds another study.
    """
    manifest = Manifest.read(records)
    presets = {value: one.changed(epochs=epochs) for value, one in _presets(kind, records, manifest, preset).items()}
    # Seeds outermost: what is there when it is killed compares all values.
    cases: list[Values] = [{"value": value, "seed": seed} for seed in range(seeds) for value in presets]
    key = fingerprint(manifest.fingerprint(), kind, {value: one.settings() for value, one in presets.items()})
    trials = run_trials(listed(cases, key=key), _measure(kind, records, manifest.fingerprint(), presets), out)
    if trials is None:
        return None
    study = _study(kind, manifest, preset, presets, trials)
    write_table(out / "study.csv", [run.model_dump() for run in study.runs])
    write_atomically(out / "study.json", study.model_dump_json(indent=2).encode())
    return study


def _measure(kind: Kind, records: AnyPath, prepared: str, presets: Mapping[str, Preset]) -> Measure:
    def measure(values: Values, state: AnyPath) -> Metrics:
        value, seed = str(values["value"]), int(values["seed"])
        splits = load_parts(records, *_NOT_TEST, size=presets[value].size, fingerprint=prepared)
        parts = _parts(kind, *splits, value=value)
        title = f"{kind} {value}, seed {seed}"
        return train_and_measure(parts, preset=presets[value], seed=seed, state=state, title=title)

    return measure


def _study(
    kind: Kind, manifest: Manifest, preset: Preset, presets: Mapping[str, Preset], trials: Sequence[Trial]
) -> Study:
    sizes = {value: sum(shard.bytes for shard in manifest.shards[one.size]) for value, one in presets.items()}
    runs = tuple(_run(trial, sizes) for trial in trials if trial.metrics)
    return Study(
        kind=kind,
        records=manifest.fingerprint(),
        settings=preset.settings(),
        runs=runs,
        failed=tuple(f"{one.values['value']}, seed {one.values['seed']}" for one in trials if not one.metrics),
        summaries=_summaries(runs),
        differences=_differences(runs),
    )


def _presets(kind: Kind, records: AnyPath, manifest: Manifest, preset: Preset) -> dict[str, Preset]:
    """What is trained, by the value that is varied."""
    if kind == "batch-size":
        return {str(batch): preset.changed(batch_size=batch) for batch in BATCH_SIZES}
    if kind == "presets":
        return {name: one.changed(size=preset.size) for name, one in PRESETS.items()}
    if kind == "resolution":
        sizes = [size for size in SIZES if size in manifest.shards]
        return _several({str(size): preset.changed(size=size) for size in sizes}, "prepare --size 32, 64 and 128")
    known = read_sources(records, *_NOT_TEST)
    return _several(dict.fromkeys(sorted(known - {""}), preset), "give train.csv a column source")


def _several(presets: dict[str, Preset], advice: str) -> dict[str, Preset]:
    if len(presets) < 2:
        raise RecordsError(f"the records have {len(presets)} of what is to be varied: {advice}")
    return presets


def _parts(kind: Kind, train: Records, validation: Records, calibration: Records, *, value: str) -> Parts:
    """What to train on, to stop by and to measure on."""
    if kind != "sources":
        return train, validation, validation
    return _without(value, join(train, calibration), validation)


def _without(source: str, train: Records, validation: Records) -> Parts:
    """All of one source is measured on, and nothing of it is seen before. What has no source stays where it is."""
    taken = [np.array(part.sources) == source for part in (train, validation)]
    measured = join(train.select(taken[0]), validation.select(taken[1]))
    return train.select(~taken[0]), validation.select(~taken[1]), measured


def _run(trial: Trial, sizes: Mapping[str, int]) -> Run:
    value, metrics = str(trial.values["value"]), trial.metrics
    return Run(
        value=value,
        seed=int(trial.values["seed"]),
        accuracy=metrics["accuracy"],
        log_loss=metrics["log_loss"],
        seconds=metrics.get("seconds"),
        epochs=int(metrics["epochs"]),
        parameters=int(metrics["parameters"]),
        bytes=sizes[value],
        images=int(metrics["images"]),
        errors=int(metrics["errors"]),
    )


def _by_value(runs: Sequence[Run]) -> dict[str, list[Run]]:
    return {value: [run for run in runs if run.value == value] for value in dict.fromkeys(run.value for run in runs)}


def _summaries(runs: Sequence[Run]) -> tuple[Summary, ...]:
    return tuple(_summary(value, some) for value, some in _by_value(runs).items())


def _summary(value: str, runs: Sequence[Run]) -> Summary:
    accuracy = _mean([run.accuracy for run in runs])
    seconds = [run.seconds for run in runs if run.seconds is not None]
    images = runs[0].images
    return Summary(
        value=value,
        runs=len(runs),
        accuracy=accuracy,
        log_loss=_mean([run.log_loss for run in runs]),
        seconds=float(np.mean(seconds)) if seconds else None,
        bytes=runs[0].bytes,
        images=images,
        standard_error=math.sqrt(accuracy.value * (1 - accuracy.value) / images),
    )


def _mean(values: Sequence[float]) -> Mean:
    low, high = t_interval(values) or (None, None)
    return Mean(value=float(np.mean(values)), low=low, high=high)


def _differences(runs: Sequence[Run]) -> tuple[Difference, ...]:
    """Every two values, by accuracy and by log loss; each of the two is a family of tests."""
    by_value = {value: {run.seed: run for run in some} for value, some in _by_value(runs).items()}
    found: list[Difference] = []
    for metric in ("accuracy", "log_loss"):
        pairs = []
        for first, second in combinations(by_value, 2):
            seeds = sorted(by_value[first].keys() & by_value[second].keys())
            one, two = ([float(getattr(by_value[value][seed], metric)) for seed in seeds] for value in (first, second))
            pairs.append((first, second, float(np.mean(two) - np.mean(one)), paired_p(one, two)))
        corrected = holm([p for *_, p in pairs])
        found += [
            Difference(metric=metric, first=first, second=second, mean=mean, p=p, real=p < LEVEL)
            for (first, second, mean, _), p in zip(pairs, corrected, strict=True)
        ]
    return tuple(found)
