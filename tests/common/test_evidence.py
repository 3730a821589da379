from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from common.evidence import EVERY, LATER, ODDS, Floats, Side, log_evidence

TARGET = 0.01
ALERT = np.log(20)

Draw = tuple[Floats, Floats]


def capital(errors: Floats, weights: Floats, side: Side) -> float:
    """The definition, term by term."""
    n, parts = len(errors), []
    for odds in ODDS[side]:
        rate = odds * TARGET / (1 - TARGET + odds * TARGET)
        factors = 1 + (rate - TARGET) / (TARGET * (1 - TARGET)) * weights * (errors - TARGET)
        starts = range(n // EVERY + 1)
        shares = [1 - LATER, *(LATER / (k * (k + 1)) for k in starts[1:])]
        won = sum(share * factors[k * EVERY :].prod() for k, share in zip(starts, shares, strict=True))
        parts.append(won + 1 - sum(shares))
    return float(np.mean(parts))


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("n", [0, 1, EVERY, 3 * EVERY - 1])
def test_the_capital_is_divided_over_alternatives_and_starts(side: Side, n: int) -> None:
    random = np.random.default_rng(n)
    errors, weights = (random.random(n) < 0.05).astype(float), random.random(n)
    found = log_evidence(errors, weights, target=TARGET, side=side)
    assert len(found) == n + 1
    assert found[0] == pytest.approx(0)
    assert np.exp(found[-1]) == pytest.approx(capital(errors, weights, side))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.booleans(), min_size=1, max_size=120), st.data())
def test_another_error_never_lowers_the_evidence_above(errors: list[bool], data: st.DataObject) -> None:
    more = [wrong or data.draw(st.booleans()) for wrong in errors]
    weights = data.draw(st.lists(st.floats(0, 1), min_size=len(errors), max_size=len(errors)))
    for side, sign in ((Side.ABOVE, 1), (Side.BELOW, -1)):
        few, many = (log_evidence(x, weights, target=TARGET, side=side) for x in (errors, more))
        assert (sign * (many - few) >= -1e-9).all()


def uniform(random: np.random.Generator, risk: float, n: int) -> Draw:
    """Verdicts on images drawn with equal probability."""
    return (random.random(n) < risk).astype(float), np.ones(n)


def by_predicted_error(random: np.random.Generator, risk: float, n: int) -> Draw:
    """Half of the draws by predicted error: a tenth of the images has 20 times the error of others, and half of all."""
    predicted = np.where(random.random(8 * n) < 0.1, 20.0, 1.0)
    wrong = random.random(8 * n) < np.where(predicted > 1, 5.0, 0.5 / 0.9) * risk
    weights = 1 / (1 + predicted / 2.9)
    drawn = np.flatnonzero(random.random(8 * n) < 0.125 / weights)[:n]
    return wrong[drawn].astype(float), weights[drawn]


def crossings(draw: Callable[..., Draw], risk: float, *, runs: int, verdicts: int, side: Side = Side.ABOVE) -> Floats:
    """The number of verdicts until the evidence reaches 20, infinite if it does not, `[runs]`."""
    random, found = np.random.default_rng(18), np.full(runs, np.inf)
    for run in range(runs):
        reached = log_evidence(*draw(random, risk, verdicts), target=TARGET, side=side) >= ALERT
        if reached.any():
            found[run] = reached.argmax()
    return found


DRAWS = pytest.mark.parametrize("draw", [uniform, by_predicted_error])


@DRAWS
@pytest.mark.parametrize("side", Side)
def test_at_the_target_at_most_one_run_in_twenty_ever_reaches_twenty(draw: Callable[..., Draw], side: Side) -> None:
    found = crossings(draw, TARGET, runs=400, verdicts=2_000, side=side)
    # Never impossible: a process that does not bet would pass as well.
    assert 0 < np.isfinite(found).mean() <= 0.05


@DRAWS
def test_three_times_the_target_is_found_within_300_verdicts(draw: Callable[..., Draw]) -> None:
    assert np.median(crossings(draw, 3 * TARGET, runs=200, verdicts=600)) <= 300


def test_a_risk_far_below_the_target_is_found() -> None:
    assert np.median(crossings(uniform, 0.001, runs=100, verdicts=1_000, side=Side.BELOW)) <= 500


def test_a_change_after_many_good_verdicts_is_found() -> None:
    random = np.random.default_rng(18)
    delays = []
    for _ in range(50):
        errors = np.concatenate([random.random(2_000) < 0.002, random.random(2_000) < 0.05])
        late = log_evidence(errors, np.ones(4_000), target=TARGET, side=Side.ABOVE)[2_000:] >= ALERT
        delays.append(late.argmax() if late.any() else np.inf)
    assert np.median(delays) <= 400


def test_without_weights_draws_by_predicted_error_would_raise_false_alarms() -> None:
    random = np.random.default_rng(18)
    errors, weights = by_predicted_error(random, TARGET, 2_000)
    assert (log_evidence(errors, np.ones_like(weights), target=TARGET, side=Side.ABOVE) >= ALERT).any()


def test_an_interval_read_after_each_verdict_raises_false_alarms() -> None:
    random = np.random.default_rng(18)
    errors = (random.random((400, 2_000)) < TARGET).cumsum(axis=1)
    fires = binom.sf(errors - 1, np.arange(1, 2_001), TARGET) < 0.025  # The lower end exceeds the target.
    assert fires.any(axis=1).mean() > 0.1


@pytest.mark.parametrize(
    ("errors", "weights", "target", "fault"),
    [([2], [1], 0.5, "0 or 1"), ([1], [1, 1], 0.5, "0 or 1"), ([1], [1.5], 0.5, "weights"), ([1], [1], 0.0, "target")],
)
def test_a_value_out_of_range_is_an_error(errors: list[int], weights: list[float], target: float, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        log_evidence(errors, weights, target=target, side=Side.ABOVE)
