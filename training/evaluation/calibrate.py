"""Measure calibration and fit the temperature that improves it.

Temperature scaling (C. Guo et al., *On Calibration of Modern Neural Networks*, 2017) divides every logit by one number
fitted on images outside the training split. It changes confidence, and leaves labels and ranking as they are.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.optimize import minimize_scalar
from scipy.special import expit

from common.statistics import clopper_pearson
from gate.card import Interval
from training.errors import DataError

# At 20 every logit is close to uninformative. Below 0.5 the data are almost separable, and the loss favours ever
# smaller temperatures; on generators that a network has not seen, the best ones lay between 0.4 and 0.7.
TEMPERATURES = (0.5, 20.0)
MAX_BINS = 15
IMAGES_A_BIN = 20
# Probabilities of the correct label are clipped here for the log loss.
SURE = 1e-7

Values = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Finding(BaseModel):
    """Base of results that are written to JSON and read by the report."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CalibrationMetrics(Finding):
    """Agreement of probabilities with labels; lower is better for all three.

    `log_loss` is in nats, `brier` is the mean squared error of the probability, and `expected_calibration_error` is the
    mean distance between predicted and observed share over the bins of `reliability`, weighted by images.
    """

    log_loss: float
    brier: float
    expected_calibration_error: float


class ReliabilityBin(Finding):
    """The images with probability in `[low, high]`; `low` and `high` are the extremes among them.

    `observed` is the share of glasses with its exact 95 % interval.
    """

    low: float
    high: float
    images: int
    mean_probability: float
    observed: Interval


class CalibrationFindings(Finding):
    """Part of `calibration.json`: metrics of the same images before and after temperature scaling."""

    images: int
    temperature: float
    before: CalibrationMetrics
    after: CalibrationMetrics
    reliability_before: tuple[ReliabilityBin, ...]
    reliability_after: tuple[ReliabilityBin, ...]


def calibrate(logits: Values, labels: Values) -> CalibrationFindings:
    """Fit the temperature to raw logits, `[N]`, and labels, `[N]` of 0 and 1; measure calibration before and after.

    Raises:
        DataError: as `fit_temperature`.
    """
    temperature = fit_temperature(logits, labels)
    scores, _ = labelled(logits, labels)
    before, after = expit(scores), expit(scores / temperature)
    return CalibrationFindings(
        images=len(scores),
        temperature=temperature,
        before=measure_calibration(before, labels),
        after=measure_calibration(after, labels),
        reliability_before=reliability(before, labels),
        reliability_after=reliability(after, labels),
    )


def fit_temperature(logits: Values, labels: Values) -> float:
    """Find the temperature within `TEMPERATURES` that minimises the log loss of `sigmoid(logit / temperature)`.

    Logits and labels are `[N]`, labels 0 or 1. Without a misclassified image the loss decreases with the temperature
    without limit, so the data do not determine it; the temperature is then 1.

    Raises:
        DataError: there are no images, a label is missing, or a value is not a number.
    """
    scores, glasses = labelled(logits, labels)
    towards_right = np.where(glasses, scores, -scores)
    if (towards_right >= 0).all():
        return 1.0

    def log_loss(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, -towards_right / np.exp(log_temperature)).mean())

    # On a logarithmic scale the loss still has a single minimum.
    fit = minimize_scalar(log_loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(fit.x))


def measure_calibration(probability: Values, labels: Values) -> CalibrationMetrics:
    """Compare probabilities of glasses, `[N]`, with labels, `[N]` of 0 and 1.

    Raises:
        DataError: there are no images, or a value is not a number.
    """
    said, glasses = labelled(probability, labels, both=False)
    bins = reliability(probability, labels)
    gaps = [abs(one.mean_probability - one.observed.value) * one.images for one in bins]
    return CalibrationMetrics(
        log_loss=float(log_losses(said, glasses).mean()),
        brier=float(((said - glasses) ** 2).mean()),
        expected_calibration_error=float(sum(gaps) / len(said)),
    )


def log_losses(probability: Floats, labels: Values | Bools) -> Floats:
    """Compute `-log` of the probability of each correct label, `[N]`."""
    right = np.where(labels == 1, probability, 1 - probability)
    losses: Floats = -np.log(np.clip(right, SURE, 1.0))
    return losses


def reliability(probability: Values, labels: Values, *, bins: int | None = None) -> tuple[ReliabilityBin, ...]:
    """Compute the observed share of glasses per bin of predicted probability, in ascending order.

    Args:
        probability: of glasses, `[N]`.
        labels: `[N]` of 0 and 1.
        bins: number of bins of about equal size; by default as many as leave `IMAGES_A_BIN` in each, at least 1 and at
            most `MAX_BINS`. Equal probabilities share a bin, so there may be fewer.

    Raises:
        DataError: there are no images, or a value is not a number.
    """
    said, glasses = labelled(probability, labels, both=False)
    count = min(MAX_BINS, max(1, len(said) // IMAGES_A_BIN)) if bins is None else bins
    # Edges taken from the probabilities keep every bin filled, and ties in one bin independent of order.
    uppers = np.unique(np.quantile(said, np.arange(1, count + 1) / count, method="inverted_cdf"))
    bin_of = np.searchsorted(uppers, said)
    return tuple(_bin(said[bin_of == index], glasses[bin_of == index]) for index in range(len(uppers)))


def exact_interval(hits: int, total: int) -> Interval:
    """Compute a share with its exact 95 % interval; `total` is at least 1."""
    low, high = clopper_pearson(hits, total)
    return Interval(value=hits / total, low=low, high=high)


def labelled(values: Values, labels: Values, *, both: bool = True) -> tuple[Floats, Bools]:
    """Validate scores and labels; return scores as float64, `[N]`, and whether each image shows glasses, bool `[N]`.

    Raises:
        DataError: there are no images, a value is not a number, or `both` is set and a label is missing.
    """
    scores = np.asarray(values, np.float64)
    if scores.ndim != 1 or scores.shape != np.shape(labels):
        raise DataError(f"scores {scores.shape} and labels {np.shape(labels)} must be one number an image each")
    if not len(scores):
        raise DataError("the split has no labelled images; add some, or use another split")
    if not np.isfinite(scores).all() or not np.isin(labels, (0, 1)).all():
        raise DataError("a score is not a finite number, or a label is neither 0 nor 1; score the images again")
    glasses = np.asarray(labels) == 1
    if both and glasses.all() == glasses.any():
        missing = "no_glasses" if glasses.all() else "glasses"
        raise DataError(
            f"none of the {len(scores)} images is labelled {missing}, and both labels are needed: add images"
        )
    return scores, glasses


def _bin(said: Floats, glasses: Bools) -> ReliabilityBin:
    return ReliabilityBin(
        low=float(said.min()),
        high=float(said.max()),
        images=len(said),
        mean_probability=float(said.mean()),
        observed=exact_interval(int(glasses.sum()), len(glasses)),
    )
