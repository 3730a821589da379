import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import binomtest

from common.statistics import clopper_pearson, cohen_kappa, fisher_exact, holm, wilson


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    images = draw(st.integers(1, 20_000))
    return draw(st.integers(0, images)), images


@settings(deadline=None)
@given(counts())
def test_the_interval_equals_that_of_scipy(counted: tuple[int, int]) -> None:
    errors, images = counted
    expected = binomtest(errors, images).proportion_ci(0.95, "exact")
    assert clopper_pearson(errors, images) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(
    ("errors", "images"),
    [(0, 1), (1, 1), (0, 50), (50, 50), (1, 500), (3, 10**6), (500_000, 10**6), (10**6 - 1, 10**6)],
)
def test_it_holds_at_the_ends_and_for_many_images(errors: int, images: int) -> None:
    expected = binomtest(errors, images).proportion_ci(0.95, "exact")
    assert clopper_pearson(errors, images) == pytest.approx((expected.low, expected.high), abs=1e-8)


def test_rates_that_are_far_off_end_the_sum_at_once() -> None:
    started = time.process_time()
    clopper_pearson(3 * 10**6, 10**7)
    assert time.process_time() - started < 5


def test_less_confidence_gives_a_narrower_interval() -> None:
    expected = binomtest(2, 40).proportion_ci(0.8, "exact")
    assert clopper_pearson(2, 40, confidence=0.8) == pytest.approx((expected.low, expected.high))


def test_without_images_both_bounds_are_nan() -> None:
    assert all(math.isnan(bound) for bound in clopper_pearson(0, 0))


@settings(deadline=None)
@given(counts(), st.one_of(counts(), st.just((0, 0))))
def test_fishers_test_equals_that_of_scipy(first: tuple[int, int], second: tuple[int, int]) -> None:
    table = [[events, images - events] for events, images in (first, second)]
    assert fisher_exact(first, second) == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-6, abs=1e-300)


@pytest.mark.parametrize(
    ("first", "second"),
    [((0, 1), (0, 1)), ((3, 3), (0, 3)), ((2, 3), (1, 3)), ((60, 200), (90, 1800)), ((0, 5), (900, 10**6))],
)
def test_fishers_test_with_ties_and_at_the_ends(first: tuple[int, int], second: tuple[int, int]) -> None:
    table = [[events, images - events] for events, images in (first, second)]
    assert fisher_exact(first, second) == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-9)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holms_correction_rejects_as_the_procedure_does(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for level in (0.001, 0.05, 0.5):
        rejected = 0
        for p_value in sorted(p_values):
            if p_value * (len(p_values) - rejected) > level:
                break
            rejected += 1
        assert sum(each <= level for each in adjusted) == rejected


def test_holms_correction_keeps_the_given_order() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]


@given(counts())
def test_wilsons_interval_equals_that_of_scipy(counted: tuple[int, int]) -> None:
    expected = binomtest(*counted).proportion_ci(0.95, "wilson")
    assert wilson(*counted) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize("table", [[[10, 1], [1, 0]], [[0, 1], [1, 0]], [[120, 0], [4, 0]]])
def test_the_interval_of_kappa_lies_within_its_values(table: list[list[int]]) -> None:
    kappa, low, high = cohen_kappa(table, 3.0)
    assert kappa is not None
    assert low is not None
    assert high is not None
    assert -1 <= low <= kappa <= high <= 1
