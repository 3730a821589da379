from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from training.errors import DataError
from training.evaluation.calibrate import (
    TEMPERATURES,
    CalibrationFindings,
    calibrate,
    exact_interval,
    fit_temperature,
    labelled,
    measure_calibration,
    reliability,
)

Floats = NDArray[np.float64]


def drawn(images: int, *, temperature: float, seed: int = 0) -> tuple[Floats, Floats]:
    """Raw logits that are `temperature` times too sure, and labels."""
    random = np.random.default_rng(seed)
    logits = random.normal(0.0, 4.0, images)
    return logits, (random.random(images) < expit(logits / temperature)).astype(float)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature: float) -> None:
    logits, labels = drawn(20_000, temperature=temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_no_temperature_on_a_grid_has_a_smaller_loss() -> None:
    logits, labels = drawn(200, temperature=2.0)

    def loss(temperature: float) -> float:
        return measure_calibration(expit(logits / temperature), labels).log_loss

    found = fit_temperature(logits, labels)
    assert loss(found) <= min(loss(float(one)) for one in np.geomspace(*TEMPERATURES, 100)) + 1e-9


def test_float32_logits_give_the_same_temperature() -> None:
    logits, labels = drawn(200, temperature=2.0)
    found = fit_temperature(logits.astype(np.float32), labels.astype(np.float32))
    assert found == pytest.approx(fit_temperature(logits, labels), rel=1e-4)


@pytest.mark.parametrize("logits", [[-3.0, -0.1, 0.1, 5.0], [-9.0, 0.0, 0.0, 9.0]])
def test_images_all_on_their_side_leave_the_logits_alone(logits: list[float]) -> None:
    assert fit_temperature(np.array(logits), np.array([0.0, 0.0, 1.0, 1.0])) == 1.0


def test_nearly_separable_logits_have_a_temperature_at_the_lower_bound() -> None:
    found = fit_temperature(np.array([-1.0, 1.0, 0.001]), np.array([0.0, 1.0, 0.0]))
    assert found == pytest.approx(TEMPERATURES[0], rel=1e-3)
    assert found >= TEMPERATURES[0]


def test_logits_that_say_the_opposite_are_softened_up_to_the_bound() -> None:
    found = fit_temperature(np.array([-9.0, 9.0]), np.array([1.0, 0.0]))
    assert found == pytest.approx(TEMPERATURES[1], rel=1e-3)
    assert found <= TEMPERATURES[1]


@pytest.mark.parametrize("measure", [fit_temperature, calibrate])
@pytest.mark.parametrize(
    ("logits", "labels", "fault"),
    [
        ([], [], "no labelled images"),
        ([1.0, 2.0], [1.0, 1.0], "labelled no_glasses"),
        ([1.0, 2.0], [0.0, 0.0], "labelled glasses"),
        ([1.0, 2.0], [0.0], "one number an image"),
        ([[1.0], [2.0]], [[0.0], [1.0]], "one number an image"),
        ([1.0, np.nan], [0.0, 1.0], "not a finite number"),
        ([1.0, 2.0], [0.0, 0.5], "neither 0 nor 1"),
    ],
)
def test_calibration_error_names_the_reason(
    measure: Callable[[Floats, Floats], object], logits: list[float], labels: list[float], fault: str
) -> None:
    with pytest.raises(DataError, match=fault):
        measure(np.array(logits), np.array(labels))


def test_one_label_is_enough_where_nothing_is_fitted() -> None:
    scores, glasses = labelled(np.array([0.5], np.float32), np.array([1]), both=False)
    assert scores.dtype == np.float64
    assert glasses.tolist() == [True]


def test_metrics_are_those_worked_out_by_hand() -> None:
    found = measure_calibration(np.array([0.9, 0.8, 0.3, 0.2]), np.array([1.0, 0.0, 0.0, 1.0]))
    assert found.log_loss == pytest.approx(-np.mean(np.log([0.9, 0.2, 0.7, 0.2])))
    assert found.brier == pytest.approx((0.01 + 0.64 + 0.09 + 0.64) / 4)
    assert found.expected_calibration_error == pytest.approx(0.55 - 0.5)


def test_the_calibration_error_weights_bins_by_their_images() -> None:
    # Two bins, of 30 and 10 images: predicted and observed differ by 0.1 in one, and by 0.2 in the other.
    probability = np.array([0.1] * 30 + [0.8] * 10)
    labels = np.array([0.0] * 30 + [1.0] * 6 + [0.0] * 4)
    found = measure_calibration(probability, labels)
    assert found.expected_calibration_error == pytest.approx((30 * 0.1 + 10 * 0.2) / 40)


def test_a_sure_mistake_has_a_finite_loss() -> None:
    assert measure_calibration(np.array([0.0]), np.array([1.0])).log_loss < 20


@pytest.mark.parametrize(("images", "bins"), [(1, 1), (39, 1), (40, 2), (299, 14), (300, 15), (5_000, 15)])
def test_there_are_at_most_15_bins_and_fewer_where_images_are_few(images: int, bins: int) -> None:
    probability = np.random.default_rng(0).random(images)
    found = reliability(probability, np.zeros(images))
    sizes = [one.images for one in found]
    assert (len(found), sum(sizes)) == (bins, images)
    assert max(sizes) - min(sizes) <= 1


def test_bins_are_those_worked_out_by_hand() -> None:
    low, high = reliability(np.array([0.2, 0.9, 0.1, 0.6]), np.array([0.0, 1.0, 1.0, 1.0]), bins=2)
    assert (low.low, low.high, low.images, low.mean_probability) == (0.1, 0.2, 2, (0.2 + 0.1) / 2)
    assert (high.low, high.high, high.images, high.mean_probability) == (0.6, 0.9, 2, 0.75)
    assert (low.observed.value, high.observed.value) == (0.5, 1.0)
    assert high.observed.low == pytest.approx(0.025**0.5)


def test_equal_probabilities_share_a_bin_and_others_do_not_join_them() -> None:
    probability, labels = np.repeat([0.0, 1.0], 10), np.repeat([0.0, 1.0], 10)
    for order in (np.arange(20), np.arange(20)[::-1]):
        found = reliability(probability[order], labels[order], bins=3)
        assert [(one.low, one.high, one.images) for one in found] == [(0.0, 0.0, 10), (1.0, 1.0, 10)]
    assert measure_calibration(probability, labels).expected_calibration_error == 0.0


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    # The first four are worked out in Newcombe (1998), table I, method 5.
    [
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0.0, 0.1684),
        (1, 29, 0.0009, 0.1776),
        (20, 20, 0.8316, 1.0),
    ],
)
def test_the_exact_interval_is_the_published_one(hits: int, total: int, low: float, high: float) -> None:
    found = exact_interval(hits, total)
    assert (found.value, found.low, found.high) == pytest.approx((hits / total, low, high), abs=6e-5)


def test_calibration_makes_the_loss_smaller_and_changes_no_order() -> None:
    logits, labels = drawn(600, temperature=3.0)
    found = calibrate(logits, labels)
    assert (found.images, found.temperature) == (600, fit_temperature(logits, labels))
    assert found.after.log_loss < found.before.log_loss
    assert found.after.expected_calibration_error < found.before.expected_calibration_error
    for before, after in zip(found.reliability_before, found.reliability_after, strict=True):
        assert (before.images, before.observed) == (after.images, after.observed)


def test_findings_survive_their_file() -> None:
    found = calibrate(*drawn(60, temperature=2.0))
    assert CalibrationFindings.model_validate_json(found.model_dump_json()) == found
