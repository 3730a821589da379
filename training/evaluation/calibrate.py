"""How far the probabilities can be believed, and the temperature that makes them more believable.

Temperature scaling (C. Guo et al., *On Calibration of Modern Neural Networks*, 2017) divides every logit by one number
fitted on images that nothing was learned from. It changes no label and no order, only how sure the model says it is.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.optimize import minimize_scalar
from scipy.special import betaincinv, expit

from gate.card import Interval
from training.errors import DataError

# Softening twentyfold makes any logit a shrug. Sharpening more than fourfold is a sign of almost separable data, of
# which the loss wants ever less doubt, rather than of a timid network.
TEMPERATURES = (0.25, 20.0)
MOST_BINS = 15
IMAGES_A_BIN = 20
# The smallest probability of the right label that a loss is taken of, as in `training.evaluation.evaluate`.
SURE = 1e-7

Values = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Finding(BaseModel):
    """Base of what is measured, written to JSON and read back by the report."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CalibrationMetrics(Finding):
    """How probabilities fit what was seen; less is better in all three.

    `log_loss` is in nats, `brier` the mean squared error of the probability, `expected_calibration_error` the mean
    distance, over the bins of `reliability` weighted by images, between what was said and what was seen.
    """

    log_loss: float
    brier: float
    expected_calibration_error: float


class ReliabilityBin(Finding):
    """The images whose probability lies in `[low, high]`, which are the smallest and the largest among them.

    `observed` is their share of glasses with its exact 95 % interval.
    """

    low: float
    high: float
    images: int
    mean_probability: float
    observed: Interval


class CalibrationFindings(Finding):
    """What `calibration.json` holds: the same images before and after the division by `temperature`."""

    images: int
    temperature: float
    before: CalibrationMetrics
    after: CalibrationMetrics
    reliability_before: tuple[ReliabilityBin, ...]
    reliability_after: tuple[ReliabilityBin, ...]


def calibrate(logits: Values, labels: Values) -> CalibrationFindings:
    """Fit the temperature to raw logits, `[N]`, and labels, `[N]` of 0 and 1, and measure what it changes.

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
    """The temperature within `TEMPERATURES` at which `sigmoid(logit / temperature)` has the least log loss.

    Where no image lies on the wrong side of 0 the loss falls for as long as the temperature does, however little the
    images say about doubt. Nothing measured then speaks for changing the logits, and the temperature is 1.

    Raises:
        DataError: there are no images, one of the labels is missing, or something is not a number.
    """
    scores, glasses = labelled(logits, labels)
    towards_right = np.where(glasses, scores, -scores)
    if (towards_right >= 0).all():
        return 1.0

    def log_loss(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, -towards_right / np.exp(log_temperature)).mean())

    # Over the logarithm halving and doubling are equally far, and the loss still has a single minimum.
    found = minimize_scalar(log_loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def measure_calibration(probability: Values, labels: Values) -> CalibrationMetrics:
    """Hold probabilities of glasses, `[N]`, against labels, `[N]` of 0 and 1.

    Raises:
        DataError: there are no images, or something is not a number.
    """
    said, glasses = labelled(probability, labels, both=False)
    bins = reliability(probability, labels)
    gaps = [abs(one.mean_probability - one.observed.value) * one.images for one in bins]
    return CalibrationMetrics(
        log_loss=float(-np.log(np.clip(np.where(glasses, said, 1 - said), SURE, 1.0)).mean()),
        brier=float(((said - glasses) ** 2).mean()),
        expected_calibration_error=float(sum(gaps) / len(said)),
    )


def reliability(probability: Values, labels: Values, *, bins: int | None = None) -> tuple[ReliabilityBin, ...]:
    """What was seen where the model said what, in order of probability.

    Args:
        probability: of glasses, `[N]`.
        labels: `[N]` of 0 and 1.
        bins: how many, all of about the same number of images; by default as many as leave `IMAGES_A_BIN` in each, at
            least one and at most `MOST_BINS`. Equal probabilities are never divided, so there may be fewer.

    Raises:
        DataError: there are no images, or something is not a number.
    """
    said, glasses = labelled(probability, labels, both=False)
    count = min(MOST_BINS, max(1, len(said) // IMAGES_A_BIN)) if bins is None else bins
    # Edges that are probabilities themselves leave no bin empty, and put ties into one bin whatever their order.
    uppers = np.unique(np.quantile(said, np.arange(1, count + 1) / count, method="inverted_cdf"))
    bin_of = np.searchsorted(uppers, said)
    return tuple(_bin(said[bin_of == index], glasses[bin_of == index]) for index in range(len(uppers)))


def clopper_pearson(hits: int, total: int, *, confidence: float = 0.95) -> Interval:
    """A share with its exact two-sided interval (C. J. Clopper and E. S. Pearson, 1934); `total` is at least 1."""
    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, total - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, total - hits, 1 - tail)) if hits < total else 1.0
    return Interval(value=hits / total, low=low, high=high)


def labelled(values: Values, labels: Values, *, both: bool = True) -> tuple[Floats, Bools]:
    """Logits or probabilities as float64, `[N]`, and whether each shows glasses, `[N]`, once they can be counted.

    Raises:
        DataError: there are no images, something is not a number, or, where `both` is asked for, one of the labels is
            missing; the text says which.
    """
    scores = np.asarray(values, np.float64)
    if scores.ndim != 1 or scores.shape != np.shape(labels):
        raise DataError(f"scores {scores.shape} and labels {np.shape(labels)} must be one number an image each")
    if not len(scores):
        raise DataError("there are no labelled images; give the split some, or another split")
    if not np.isfinite(scores).all() or not np.isin(labels, (0, 1)).all():
        raise DataError("a score is not a finite number, or a label is neither 0 nor 1; score the images again")
    glasses = np.asarray(labels) == 1
    if both and glasses.all() == glasses.any():
        missing = "no_glasses" if glasses.all() else "glasses"
        raise DataError(f"not one of the {len(scores)} images is labelled {missing}; both labels are needed")
    return scores, glasses


def _bin(said: Floats, glasses: Bools) -> ReliabilityBin:
    return ReliabilityBin(
        low=float(said.min()),
        high=float(said.max()),
        images=len(said),
        mean_probability=float(said.mean()),
        observed=clopper_pearson(int(glasses.sum()), len(glasses)),
    )
