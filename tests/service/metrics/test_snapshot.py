import pytest

from service.metrics.snapshot import BINS, Distribution, bin_scores


def test_quantiles_are_interpolated_between_two_edges() -> None:
    seconds = Distribution((0.1, 0.2), (50, 50, 0), total=0.0)
    assert seconds.quantile(0.5) == pytest.approx(0.1)
    assert seconds.quantile(0.75) == pytest.approx(0.15)


def test_empty_buckets_between_values_are_skipped() -> None:
    seconds = Distribution((0.1, 0.2, 0.3), (1, 0, 1, 0), total=0.0)
    assert seconds.quantile(0.5) == pytest.approx(0.1)
    assert seconds.quantile(1.0) == pytest.approx(0.3)


def test_a_quantile_beyond_the_last_edge_is_that_edge() -> None:
    assert Distribution((0.1,), (1, 9), total=0.0).quantile(0.99) == pytest.approx(0.1)


def test_an_empty_distribution_has_no_quantile() -> None:
    assert Distribution.empty((0.1,)).quantile(0.5) is None


def test_distributions_over_the_same_edges_add_and_subtract() -> None:
    first, second = Distribution((0.1,), (1, 2), total=1.5), Distribution((0.1,), (3, 4), total=2.5)
    both = Distribution.merge([first, second], edges=(0.1,))
    assert both == Distribution((0.1,), (4, 6), total=4.0)
    assert both.since(first) == second


def test_scores_on_an_edge_belong_to_the_bin_below() -> None:
    edges = tuple(edge / BINS for edge in range(1, BINS + 1))
    counts = bin_scores(Distribution(edges, (1, *(0,) * (BINS - 2), 2, 0), total=0.0))
    assert (counts[0], counts[-1], sum(counts)) == (1, 2, 3)
