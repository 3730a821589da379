"""Statistics over training runs that differ by their seed: means with intervals, and differences paired by seed."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

from common.statistics import holm
from gate.card import Interval

LEVEL = 0.05


class _SeedModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StudyRun(_SeedModel):
    """One training run; accuracy and log loss refer to the images that were held out for measuring.

    `seconds` is None after an interruption; `bytes` is the size of the records. If labels were flipped on purpose, the
    true metrics refer to the labels before, on the same images.
    """

    value: str
    seed: int
    accuracy: float
    log_loss: float
    true_accuracy: float | None = None
    true_log_loss: float | None = None
    seconds: float | None
    epochs: int
    parameters: int
    bytes: int
    images: int
    errors: int

    @classmethod
    def from_metrics(cls, value: str, seed: int, *, metrics: Mapping[str, float], size: int) -> Self:
        """Build from the metrics of a trial; `size` is the size of the records in bytes."""
        counts = {name: int(metrics[name]) for name in ("epochs", "parameters", "images", "errors")}
        shares = {name: metrics.get(name) for name in ("true_accuracy", "true_log_loss", "seconds")}
        shares |= {name: metrics[name] for name in ("accuracy", "log_loss")}
        return cls.model_validate({"value": value, "seed": seed, "bytes": size, **counts, **shares})


class SeedMean(_SeedModel):
    """A mean over seeds with its 95 % t-interval, which needs at least two seeds and ends where possible values end."""

    value: float
    low: float | None = None
    high: float | None = None

    def interval(self) -> Interval:
        """Return the interval; a single seed gives a point."""
        low, high = (self.value if end is None else end for end in (self.low, self.high))
        return Interval(value=self.value, low=low, high=high)


class ValueSummary(_SeedModel):
    """All runs with one value; the standard error comes from the number of images, independent of the seeds."""

    value: str
    runs: int
    accuracy: SeedMean
    log_loss: SeedMean
    true_accuracy: SeedMean | None = None
    true_log_loss: SeedMean | None = None
    seconds: float | None
    bytes: int
    images: int
    standard_error: float


class ValueDifference(_SeedModel):
    """The mean increase of a metric from `first` to `second`, over their common seeds.

    `real` means significant: p, corrected for all pairs of values, is below `LEVEL`.
    """

    metric: str
    first: str
    second: str
    mean: float
    p: float
    real: bool

    @property
    def ordered(self) -> tuple[str, str]:
        """The value with the lower mean, and the one with the higher."""
        return (self.first, self.second) if self.mean > 0 else (self.second, self.first)


def summarise(runs: Sequence[StudyRun]) -> tuple[ValueSummary, ...]:
    """Summarise the runs of each value, in the order of their first run."""
    return tuple(_summary(value, some) for value, some in _by_value(runs).items())


def differences(runs: Sequence[StudyRun]) -> tuple[ValueDifference, ...]:
    """Test all pairs of values with a common seed; accuracy and log loss are separate families of tests."""
    by_value = {value: {run.seed: run for run in some} for value, some in _by_value(runs).items()}
    tested: list[ValueDifference] = []
    for metric in ("accuracy", "log_loss"):
        pairs = []
        for first, second in combinations(by_value, 2):
            seeds = sorted(by_value[first].keys() & by_value[second].keys())
            if not seeds:
                continue
            of_first, of_second = (
                [float(getattr(by_value[value][seed], metric)) for seed in seeds] for value in (first, second)
            )
            pairs.append((first, second, float(np.mean(of_second) - np.mean(of_first)), paired_p(of_first, of_second)))
        corrected = holm([p for *_, p in pairs])
        tested += [
            ValueDifference(metric=metric, first=first, second=second, mean=mean, p=p, real=p < LEVEL)
            for (first, second, mean, _), p in zip(pairs, corrected, strict=True)
        ]
    return tuple(tested)


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Compute the 95 % t-interval of a mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    half = float(stats.t.ppf(1 - LEVEL / 2, len(values) - 1) * stats.sem(values))
    mean = float(np.mean(values))
    return mean - half, mean + half


def paired_p(first: Sequence[float], other: Sequence[float]) -> float:
    """Compute the two-sided p of Student's paired t test.

    It is 1 if the differences do not vary: a few seeds with equal error counts are not evidence.
    """
    apart = np.subtract(other, first)
    if len(apart) < 2 or np.ptp(apart) < 1e-12:
        return 1.0
    return float(stats.ttest_1samp(apart, 0.0).pvalue)


def standard_error(accuracy: float, images: int) -> float:
    """Compute the standard error of an accuracy that was measured on so many images.

    An accuracy of 0 or 1 counts as half an image less extreme: no number of images measures one without an error.
    """
    share = min(max(accuracy, 0.5 / images), 1 - 0.5 / images)
    return math.sqrt(share * (1 - share) / images)


def _by_value(runs: Sequence[StudyRun]) -> dict[str, list[StudyRun]]:
    return {value: [run for run in runs if run.value == value] for value in dict.fromkeys(run.value for run in runs)}


def _summary(value: str, runs: Sequence[StudyRun]) -> ValueSummary:
    accuracy = _mean([run.accuracy for run in runs], most=1.0)
    seconds = [run.seconds for run in runs if run.seconds is not None]
    images = runs[0].images
    return ValueSummary(
        value=value,
        runs=len(runs),
        accuracy=accuracy,
        log_loss=_mean([run.log_loss for run in runs]),
        true_accuracy=_mean_of_known([run.true_accuracy for run in runs], most=1.0),
        true_log_loss=_mean_of_known([run.true_log_loss for run in runs]),
        seconds=float(np.mean(seconds)) if seconds else None,
        bytes=runs[0].bytes,
        images=images,
        standard_error=standard_error(accuracy.value, images),
    )


def _mean(values: Sequence[float], *, most: float = math.inf) -> SeedMean:
    low, high = t_interval(values) or (None, None)
    if low is not None and high is not None:
        low, high = max(0.0, low), min(most, high)
    return SeedMean(value=float(np.mean(values)), low=low, high=high)


def _mean_of_known(values: Sequence[float | None], *, most: float = math.inf) -> SeedMean | None:
    known = [value for value in values if value is not None]
    return _mean(known, most=most) if known else None
