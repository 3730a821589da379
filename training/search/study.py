"""Studies: vary one setting with several seeds per value, everything else fixed. The paper ran each value once."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from common.storage import AnyPath, write_atomically
from common.terminal import count
from training.data.dataset import Split
from training.data.image_table import ImageRow, LabelTable
from training.data.near_duplicates import group_near, perceptual_hash
from training.data.records import Manifest, Records, join, load_parts, read_rows
from training.errors import RecordsError, TrainingError
from training.evaluation.seeds import StudyRun, ValueDifference, ValueSummary, differences, summarise
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
_TRAIN, _STOP = "train on", "stop early by"

StudyKind = Literal["resolution", "batch-size", "sources", "presets"]
StudyParts = tuple[Records, Records, Records]


class StudyResult(BaseModel):
    """All runs of a study with their statistics."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: StudyKind
    records: str
    settings: dict[str, float | int | str | bool]
    runs: tuple[StudyRun, ...]
    failed: tuple[str, ...]
    summaries: tuple[ValueSummary, ...]
    differences: tuple[ValueDifference, ...]


def run_study(
    records: AnyPath,
    out: AnyPath,
    *,
    kind: StudyKind,
    preset: Preset,
    seeds: int,
    epochs: int | None = None,
    values: Sequence[str] | None = None,
    truth: LabelTable | None = None,
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
        values: some of the values, for a study of its own; all if None.
        truth: labels before some were flipped on purpose; adds the metrics against them.

    Raises:
        RecordsError: the records offer fewer than two values, or `out` holds another study.
        TrainingError: all runs failed.
    """
    manifest = Manifest.read(records)
    presets = _presets(kind, records, manifest, preset)
    presets = {value: presets[value].changed(epochs=epochs) for value in values or presets}
    # Seeds outermost, so that an interrupted study has complete comparisons of all values.
    cases: list[TrialValues] = [{"value": value, "seed": seed} for seed in range(seeds) for value in presets]
    key = fingerprint(manifest.fingerprint(), kind, {value: each.settings() for value, each in presets.items()})
    measure = _measure(kind, records, manifest.fingerprint(), presets, truth)
    trials = run_trials(listed(cases, key=key), measure, out)
    return None if trials is None else _written(_study(kind, manifest, preset, presets, trials), out)


def _measure(
    kind: StudyKind, records: AnyPath, prepared: str, presets: Mapping[str, Preset], truth: LabelTable | None
) -> MeasureTrial:
    def measure(values: TrialValues, state: AnyPath) -> TrialMetrics:
        value, seed = str(values["value"]), int(values["seed"])
        splits = load_parts(records, *_NOT_TEST, size=presets[value].size, fingerprint=prepared)
        parts = _parts(kind, *splits, value=value)
        title = f"{kind} {value}, seed {seed}"
        return train_and_measure(parts, preset=presets[value], seed=seed, state=state, title=title, truth=truth)

    return measure


def _study(
    kind: StudyKind, manifest: Manifest, preset: Preset, presets: Mapping[str, Preset], trials: Sequence[TrialResult]
) -> StudyResult:
    sizes = {value: sum(shard.bytes for shard in manifest.shards[each.size]) for value, each in presets.items()}
    runs = tuple(
        StudyRun.from_metrics(value, int(trial.values["seed"]), metrics=trial.metrics, size=sizes[value])
        for trial in trials
        if trial.metrics and (value := str(trial.values["value"]))
    )
    return StudyResult(
        kind=kind,
        records=manifest.fingerprint(),
        settings=preset.settings(),
        runs=runs,
        failed=tuple(f"{trial.values['value']}, seed {trial.values['seed']}" for trial in trials if not trial.metrics),
        summaries=summarise(runs),
        differences=differences(runs),
    )


def _written(study: StudyResult, out: AnyPath) -> StudyResult:
    if not study.runs:
        raise TrainingError(f"all {len(study.failed)} runs failed: use a smaller learning rate, or less memory")
    write_table(out / "study.csv", [run.model_dump(exclude_none=True) for run in study.runs])
    write_atomically(out / "study.json", study.model_dump_json(indent=2).encode())
    return study


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
            f"prepare {' '.join(f'--size {size}' for size in wanted)}",
        )
    if kind == "resolution":
        sizes = [size for size in SIZES if size in manifest.shards]
        return _several(
            {str(size): preset.changed(size=size) for size in sizes}, "prepare --size 32 --size 64 --size 128"
        )
    rows = read_rows(records, *_NOT_TEST)
    sources = sorted({row.source for row in rows} - {""})
    presets = _several(dict.fromkeys(sources, preset), "give train.csv a column source")
    for source in sources:
        _check_rest(source, [row for row in rows if row.source != source])
    return presets


def _check_rest(source: str, rest: Sequence[ImageRow]) -> None:
    """Refuse a source without which a network cannot be trained, before any is."""
    splits = {row.split for row in rest}
    if Split.VALIDATION not in splits or splits == {Split.VALIDATION}:
        raise _too_few(source, _TRAIN if Split.VALIDATION in splits else _STOP)


def _several(presets: dict[str, Preset], advice: str) -> dict[str, Preset]:
    if len(presets) < 2:
        raise RecordsError(f"the records have {count(len(presets), 'value')} to compare: {advice}")
    return presets


def _parts(kind: StudyKind, train: Records, validation: Records, calibration: Records, *, value: str) -> StudyParts:
    """Return the records to train on, to stop early by and to measure on."""
    if kind != "sources":
        return train, validation, validation
    return _without(value, join(train, calibration), validation)


def _without(source: str, train: Records, validation: Records) -> StudyParts:
    """Hold out all images of one source for measuring; images without a source stay in their split.

    Near-duplicates of held-out images are left out, such as those of one latent vector by two checkpoints.

    Raises:
        RecordsError: no image is left to train on, or to stop early by.
    """
    images = join(train, validation)
    measured, is_train = np.array(images.sources) == source, np.arange(len(images)) < len(train)
    groups = np.array(group_near([perceptual_hash(image) for image in images.images]))
    others = ~np.isin(groups, groups[measured])
    parts = images.select(others & is_train), images.select(others & ~is_train)
    for part, purpose in zip(parts, (_TRAIN, _STOP), strict=True):
        if not len(part):
            raise _too_few(source, purpose, " and near-duplicates of its images")
    return *parts, images.select(measured)


def _too_few(source: str, purpose: str, more: str = "") -> RecordsError:
    return RecordsError(
        f"without the source {source!r}{more} no image is left to {purpose}: add images of others, or join small "
        "sources under one name in train.csv"
    )
