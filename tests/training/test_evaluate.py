import numpy as np
import pytest

from gate import Band
from training.evaluation.evaluate import evaluate, reference_histogram, wilson


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    # The first two are worked out in Newcombe (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (10, 10, 0.7225, 1.0), (0, 10, 0.0, 0.2775)],
)
def test_wilsons_interval_is_the_published_one(hits: int, total: int, low: float, high: float) -> None:
    found = wilson(hits, total)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)
    assert found.value == hits / total


def test_wilsons_interval_contains_its_value() -> None:
    found = [wilson(hits, total) for total in range(1, 200) for hits in (0, total)]
    assert all(one.low <= one.value <= one.high for one in found)


def test_figures_are_those_worked_out_by_hand() -> None:
    probability = np.array([0.9, 0.8, 0.55, 0.2, 0.1])
    labels = np.array([1, 0, 0, 0, 0], np.float32)
    found = evaluate(probability, labels, Band(0.4, 0.6))
    assert found.images == 5
    assert found.accuracy.value == 3 / 5
    assert found.coverage is not None
    assert found.coverage.value == 4 / 5
    assert found.selective_accuracy is not None
    assert found.selective_accuracy.value == 3 / 4
    assert found.log_loss.value == pytest.approx(-np.mean(np.log([0.9, 0.2, 0.45, 0.8, 0.9])))
    assert found.log_loss.low < found.log_loss.value < found.log_loss.high


def test_where_nothing_is_accepted_there_is_no_selective_accuracy() -> None:
    found = evaluate(np.array([0.5]), np.array([1], np.float32), Band(0.0, 1.0))
    assert found.coverage is not None
    assert (found.coverage.value, found.selective_accuracy) == (0.0, None)


def test_a_sure_mistake_has_a_finite_loss() -> None:
    assert evaluate(np.array([0.0]), np.array([1], np.float32), Band()).log_loss.value < 20


def test_the_reference_histogram_counts_every_score() -> None:
    found = reference_histogram(np.array([0.0, 0.04, 0.5, 1.0]))
    assert (found.counts[0], found.counts[10], found.counts[-1], sum(found.counts)) == (2, 1, 1, 4)


def test_what_is_unfamiliar_is_not_accepted() -> None:
    unfamiliar = np.array([True, False, False])
    found = evaluate(np.array([0.9, 0.1, 0.5]), np.array([0, 0, 1], np.float32), Band(), unfamiliar=unfamiliar)
    assert found.unfamiliar is not None
    assert found.coverage is not None
    assert (found.unfamiliar.value, found.coverage.value) == (1 / 3, 1 / 3)
    assert found.selective_accuracy is not None
    assert found.selective_accuracy.value == 1.0
