"""The drift of scores, and the limit that chance alone hardly passes."""

import numpy as np
import pytest
from scipy.stats import chi2

from service.metrics.drift import DRIFT_MINIMUM, population_stability, stability_limit
from tests.support.images import encode, flat
from tests.support.servers import Running


def test_the_same_shares_are_no_drift() -> None:
    counts = np.array([100, 300, 600])
    assert population_stability(counts, counts) == 0.0
    assert population_stability(counts[::-1], counts) > 0.5


@pytest.mark.parametrize("bins", [5, 10, 20, 40])
def test_the_limit_is_the_chi_square_quantile(bins: int) -> None:
    expected = (1 / 1000 + 1 / 500) * chi2.ppf(0.999, bins - 1)
    assert stability_limit(1000, 500, bins=bins) == pytest.approx(expected, rel=0.015)


def test_scores_without_drift_rarely_exceed_the_limit() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(20, 2.0))
    found = [population_stability(rng.multinomial(1000, shares), rng.multinomial(500, shares)) for _ in range(4_000)]
    assert np.mean(np.array(found) > stability_limit(1000, 500, bins=20)) < 0.005


def test_scores_with_drift_exceed_the_limit() -> None:
    shares = np.array([0.5, 0.2, 0.2, 0.1])
    assert population_stability(1000 * shares[::-1], 500 * shares) > stability_limit(1000, 500, bins=4)


def test_drift_and_limit_are_nan_below_the_minimum_number_of_scores(service: Running) -> None:
    white = encode(flat(255))
    for _ in range(DRIFT_MINIMUM - 1):
        service.post(white)
    assert np.isnan([service.metric("lensgate_score_drift_psi"), service.metric("lensgate_score_drift_limit")]).all()
    service.post(white)
    assert service.metric("lensgate_score_drift_psi") > service.metric("lensgate_score_drift_limit") > 0
