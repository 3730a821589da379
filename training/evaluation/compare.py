"""Paired comparison of finished runs on the same images, and of settings with the same seeds."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import stats
from scipy.special import expit

from common.storage import AnyPath
from common.terminal import printable
from gate.card import Interval
from training.data.dataset import Split
from training.data.records import Manifest, load_records
from training.errors import RecordsError
from training.evaluation.calibrate import Bools, Floats, log_losses
from training.evaluation.evaluate import RESAMPLES, wilson
from training.model.preset import Preset
from training.model.train import load_fitted, predict_logits


class _ComparisonModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunResult(_ComparisonModel):
    """The metrics of one run on the test split."""

    run: str
    images: int
    errors: int
    accuracy: Interval
    log_loss: Interval
    parameters: int
    settings: dict[str, float | int | str | bool]


class PairedResult(_ComparisonModel):
    """A run compared with the first: errors of only one of them, and its log loss minus that of the first."""

    first: str
    other: str
    only_first_wrong: int
    only_other_wrong: int
    mcnemar_p: float
    log_loss_difference: Interval


class Comparison(_ComparisonModel):
    """The results of several runs on the same test split."""

    records: str
    runs: tuple[RunResult, ...]
    pairs: tuple[PairedResult, ...]


def compare_runs(records: AnyPath, folders: Sequence[Path]) -> Comparison:
    """Evaluate finished runs on the test split, and compare each with the first, image by image.

    Accuracy has Wilson's interval, log loss a bootstrap's; McNemar's test is exact.

    Raises:
        RecordsError: a run is unfinished, or was fitted to other records.
    """
    fingerprint = Manifest.read(records).fingerprint()
    names = [printable(str(folder)) for folder in folders]
    fitted = [load_fitted(folder) for folder in folders]
    for name, model in zip(names, fitted, strict=True):
        if model.run.records != fingerprint:
            raise RecordsError(f"{name} was fitted to other records than {records}: its test split is not held out")
    labels, logits = _test_logits(records, [(model.network, model.run.preset) for model in fitted])
    wrong, losses = (logits >= 0) != (labels == 1), log_losses(expit(logits), labels)
    means = _resampled(losses)
    runs = tuple(
        RunResult(
            run=name,
            images=len(labels),
            errors=int(mistakes.sum()),
            accuracy=wilson(int((~mistakes).sum()), len(labels)),
            log_loss=_interval(float(loss.mean()), mean),
            parameters=model.run.parameters,
            settings=model.run.settings,
        )
        for name, model, mistakes, loss, mean in zip(names, fitted, wrong, losses, means, strict=True)
    )
    return Comparison(records=fingerprint, runs=runs, pairs=_pairs(names, wrong, losses, means))


def _pairs(names: Sequence[str], wrong: Bools, losses: Floats, means: Floats) -> tuple[PairedResult, ...]:
    """Compare each run with the first.

    Args:
        names: of the runs.
        wrong: whether each run misclassified each image, `[runs, N]`.
        losses: log loss of each image, `[runs, N]`.
        means: resampled means of the losses, `[runs, R]`.
    """
    return tuple(
        PairedResult(
            first=names[0],
            other=names[index],
            only_first_wrong=int((wrong[0] & ~wrong[index]).sum()),
            only_other_wrong=int((wrong[index] & ~wrong[0]).sum()),
            mcnemar_p=mcnemar(wrong[0], wrong[index]),
            log_loss_difference=_interval(float((losses[index] - losses[0]).mean()), means[index] - means[0]),
        )
        for index in range(1, len(names))
    )


def comparison_rows(comparison: Comparison) -> list[dict[str, object]]:
    """Convert a comparison to table rows: one per run, with the differences from the first run."""
    pairs = {pair.other: pair for pair in comparison.pairs}
    return [{**_flat(run, {"settings"}), **_flat(pairs.get(run.run), {"first", "other"})} for run in comparison.runs]


def mcnemar(first: Bools, other: Bools) -> float:
    """Compute McNemar's exact two-sided p for two error masks, bool `[N]`, on the same images (Q. McNemar, 1947)."""
    only_first, only_other = int((first & ~other).sum()), int((other & ~first).sum())
    return float(stats.binomtest(only_first, only_first + only_other).pvalue) if only_first + only_other else 1.0


def _test_logits(
    records: AnyPath, networks: Iterable[tuple[keras.Model, Preset]]
) -> tuple[NDArray[np.float32], Floats]:
    """Return labels `[N]` and logits `[runs, N]`; the order of the images is the same at every size."""
    logits = []
    for network, preset in networks:
        test = load_records(records, Split.TEST, size=preset.size)
        logits.append(predict_logits(network, test.images))
    return test.labels, np.stack(logits)


def _resampled(losses: Floats) -> Floats:
    """Bootstrap the mean losses, `[runs, N]` -> `[runs, R]`, with the same resampled images for all runs."""
    random, count = np.random.default_rng(0), losses.shape[1]
    return np.stack([losses[:, random.integers(count, size=count)].mean(axis=1) for _ in range(RESAMPLES)], axis=1)


def _flat(part: BaseModel | None, without: set[str]) -> dict[str, object]:
    """Flatten the fields; an interval becomes three columns."""
    cells: dict[str, object] = {}
    for name, value in part.model_dump(exclude=without).items() if part else ():
        cells |= {f"{name}_{end}": one for end, one in value.items()} if isinstance(value, dict) else {name: value}
    return cells


def _interval(value: float, samples: Floats) -> Interval:
    low, high = np.quantile(samples, [0.025, 0.975])
    return Interval(value=value, low=float(low), high=float(high))
