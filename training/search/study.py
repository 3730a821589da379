"""Studies: vary one setting with several seeds per value, everything else fixed. The paper ran each value once."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from common.storage import AnyPath, write_atomically
from training.data.dataset import Split
from training.data.records import Manifest, Records, join, load_parts, read_rows
from training.errors import RecordsError
from training.evaluation.compare import LEVEL, holm, paired_p, t_interval
from training.model.preset import PRESETS, SIZES, Preset
from training.search.oracles import TrialValues, listed
from training.search.trials import (
    MeasureTrial,
    TrialMetrics,
    TrialResult,
    fingerprint,
    run_trials,
    train_and_measure,
    write_table,
)

BATCH_SIZES = (32, 64, 128)
_NOT_TEST = (Split.TRAIN, Split.VALIDATION, Split.CALIBRATION)

StudyKind = Literal["resolution", "batch-size", "sources", "presets"]
StudyParts = tuple[Records, Records, Records]


class _StudyModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StudyRun(_StudyModel):
    """One training run; accuracy and log loss refer to the validation split, or to the source that was left out.

    `seconds` is None after an interruption; `bytes` is the size of the records.
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


class SeedMean(_StudyModel):
    """A mean over seeds with its 95 % t-interval, which needs at least two seeds."""

    value: float
    low: float | None = None
    high: float | None = None


class ValueSummary(_StudyModel):
    """All runs with one value; the standard error comes from the number of images, independent of the seeds."""

    value: str
    runs: int
    accuracy: SeedMean
    log_loss: SeedMean
    seconds: float | None
    bytes: int
    images: int
    standard_error: float


class ValueDifference(_StudyModel):
    """The mean increase of a metric from `first` to `second`, over their common seeds.

    `real` means significant: p, corrected for all pairs of values, is below `LEVEL`.
    """

    metric: str
    first: str
    second: str
    mean: float
    p: float
    real: bool


class StudyResult(_StudyModel):
    """All runs of a study with their statistics."""

    kind: StudyKind
    records: str
    settings: dict[str, float | int | str | bool]
    runs: tuple[StudyRun, ...]
    failed: tuple[str, ...]
    summaries: tuple[ValueSummary, ...]
    differences: tuple[ValueDifference, ...]


def run_study(
    records: AnyPath, out: AnyPath, *, kind: StudyKind, preset: Preset, seeds: int, epochs: int | None = None
) -> StudyResult | None:
    """Train with each value and the seeds 0, 1, ...; write `study.csv` and `study.json` to `out`.

    A second run resumes; more seeds extend the study. Returns None in a worker (see `training.search.trials`).

    Args:
        records: prepared at the size of `preset`, or at several sizes for `resolution`.
        out: folder to write to; a shared folder may serve all machines.
        kind: the setting to vary; `sources` leaves out each source in turn and measures on it.
        preset: all other settings.
        seeds: training runs per value.
        epochs: overrides the number of epochs of every preset.

    Raises:
        RecordsError: the records offer fewer than two values, or `out` holds another study.
    """
    manifest = Manifest.read(records)
    presets = {value: one.changed(epochs=epochs) for value, one in _presets(kind, records, manifest, preset).items()}
    # Seeds outermost, so that an interrupted study has complete comparisons of all values.
    cases: list[TrialValues] = [{"value": value, "seed": seed} for seed in range(seeds) for value in presets]
    key = fingerprint(manifest.fingerprint(), kind, {value: one.settings() for value, one in presets.items()})
    trials = run_trials(listed(cases, key=key), _measure(kind, records, manifest.fingerprint(), presets), out)
    if trials is None:
        return None
    study = _study(kind, manifest, preset, presets, trials)
    write_table(out / "study.csv", [run.model_dump() for run in study.runs])
    write_atomically(out / "study.json", study.model_dump_json(indent=2).encode())
    return study


def _measure(kind: StudyKind, records: AnyPath, prepared: str, presets: Mapping[str, Preset]) -> MeasureTrial:
    def measure(values: TrialValues, state: AnyPath) -> TrialMetrics:
        value, seed = str(values["value"]), int(values["seed"])
        splits = load_parts(records, *_NOT_TEST, size=presets[value].size, fingerprint=prepared)
        parts = _parts(kind, *splits, value=value)
        title = f"{kind} {value}, seed {seed}"
        return train_and_measure(parts, preset=presets[value], seed=seed, state=state, title=title)

    return measure


def _study(
    kind: StudyKind, manifest: Manifest, preset: Preset, presets: Mapping[str, Preset], trials: Sequence[TrialResult]
) -> StudyResult:
    sizes = {value: sum(shard.bytes for shard in manifest.shards[one.size]) for value, one in presets.items()}
    runs = tuple(_run(trial, sizes) for trial in trials if trial.metrics)
    return StudyResult(
        kind=kind,
        records=manifest.fingerprint(),
        settings=preset.settings(),
        runs=runs,
        failed=tuple(f"{one.values['value']}, seed {one.values['seed']}" for one in trials if not one.metrics),
        summaries=_summaries(runs),
        differences=_differences(runs),
    )


def _presets(kind: StudyKind, records: AnyPath, manifest: Manifest, preset: Preset) -> dict[str, Preset]:
    """Return the preset for each value of the varied setting."""
    if kind == "batch-size":
        return {str(batch): preset.changed(batch_size=batch) for batch in BATCH_SIZES}
    if kind == "presets":
        # A preset with two towers has a size of its own.
        sized = {name: one.changed(size=one.size if one.band_filters else preset.size) for name, one in PRESETS.items()}
        wanted = sorted({one.size for one in sized.values()})
        return _several(
            {name: one for name, one in sized.items() if one.size in manifest.shards},
            f"prepare --size {' and '.join(map(str, wanted))}",
        )
    if kind == "resolution":
        sizes = [size for size in SIZES if size in manifest.shards]
        return _several({str(size): preset.changed(size=size) for size in sizes}, "prepare --size 32, 64 and 128")
    known = {row.source for row in read_rows(records) if row.split in _NOT_TEST}
    return _several(dict.fromkeys(sorted(known - {""}), preset), "give train.csv a column source")


def _several(presets: dict[str, Preset], advice: str) -> dict[str, Preset]:
    if len(presets) < 2:
        raise RecordsError(f"the records have {len(presets)} values to compare: {advice}")
    return presets


def _parts(kind: StudyKind, train: Records, validation: Records, calibration: Records, *, value: str) -> StudyParts:
    """Return the records to train on, to stop early by and to measure on."""
    if kind != "sources":
        return train, validation, validation
    return _without(value, join(train, calibration), validation)


def _without(source: str, train: Records, validation: Records) -> StudyParts:
    """Hold out all images of one source for measuring; images without a source stay in their split."""
    taken = [np.array(part.sources) == source for part in (train, validation)]
    measured = join(train.select(taken[0]), validation.select(taken[1]))
    return train.select(~taken[0]), validation.select(~taken[1]), measured


def _run(trial: TrialResult, sizes: Mapping[str, int]) -> StudyRun:
    value, metrics = str(trial.values["value"]), trial.metrics
    return StudyRun(
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


def _by_value(runs: Sequence[StudyRun]) -> dict[str, list[StudyRun]]:
    return {value: [run for run in runs if run.value == value] for value in dict.fromkeys(run.value for run in runs)}


def _summaries(runs: Sequence[StudyRun]) -> tuple[ValueSummary, ...]:
    return tuple(_summary(value, some) for value, some in _by_value(runs).items())


def _summary(value: str, runs: Sequence[StudyRun]) -> ValueSummary:
    accuracy = _mean([run.accuracy for run in runs])
    seconds = [run.seconds for run in runs if run.seconds is not None]
    images = runs[0].images
    return ValueSummary(
        value=value,
        runs=len(runs),
        accuracy=accuracy,
        log_loss=_mean([run.log_loss for run in runs]),
        seconds=float(np.mean(seconds)) if seconds else None,
        bytes=runs[0].bytes,
        images=images,
        standard_error=math.sqrt(accuracy.value * (1 - accuracy.value) / images),
    )


def _mean(values: Sequence[float]) -> SeedMean:
    low, high = t_interval(values) or (None, None)
    return SeedMean(value=float(np.mean(values)), low=low, high=high)


def _differences(runs: Sequence[StudyRun]) -> tuple[ValueDifference, ...]:
    """Test all pairs of values; accuracy and log loss are separate families of tests."""
    by_value = {value: {run.seed: run for run in some} for value, some in _by_value(runs).items()}
    found: list[ValueDifference] = []
    for metric in ("accuracy", "log_loss"):
        pairs = []
        for first, second in combinations(by_value, 2):
            seeds = sorted(by_value[first].keys() & by_value[second].keys())
            one, two = ([float(getattr(by_value[value][seed], metric)) for seed in seeds] for value in (first, second))
            pairs.append((first, second, float(np.mean(two) - np.mean(one)), paired_p(one, two)))
        corrected = holm([p for *_, p in pairs])
        found += [
            ValueDifference(metric=metric, first=first, second=second, mean=mean, p=p, real=p < LEVEL)
            for (first, second, mean, _), p in zip(pairs, corrected, strict=True)
        ]
    return tuple(found)
