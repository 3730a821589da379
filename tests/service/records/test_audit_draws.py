import random
from itertools import repeat

import numpy as np
import pytest

from gate import Action, Decision, Label, Reason
from service.records.audit_draws import MAX_RELATIVE_ERROR, AuditDraws, DrawKind

ACCEPTED = Decision(Label.GLASSES, Action.ACCEPT, Reason.CONFIDENT)


def probabilities(count: int) -> list[float]:
    """Accepted images: most are sure, a few are not."""
    numbers = np.random.default_rng(3)
    claims = np.where(numbers.random(count) < 0.05, numbers.uniform(0.05, 0.4, count), numbers.uniform(0, 0.002, count))
    return [float(one) for one in np.where(numbers.random(count) < 0.2, 1 - claims, claims)]


def test_half_of_the_draws_are_uniform_and_all_are_as_many_as_asked_for() -> None:
    draws = AuditDraws(0.02, rng=random.Random(1).random)
    found = [draws.draw(ACCEPTED, p) for p in probabilities(100_000)]
    kinds = [one.kind for one in found if one]
    assert len(kinds) == pytest.approx(2_000, rel=0.1)
    assert kinds.count(DrawKind.UNIFORM) == pytest.approx(1_000, rel=0.1)


def test_weighted_draws_estimate_the_error_of_all_accepted_images() -> None:
    draws, numbers = AuditDraws(0.05, rng=random.Random(1).random), random.Random(2)
    shown, errors = probabilities(100_000), 0
    weights, wrong = [], []
    for p in shown:
        # Twice as wrong as claimed, and half a percent beyond any claim.
        is_wrong = numbers.random() < 2 * min(p, 1 - p) + 0.005
        errors += is_wrong
        if one := draws.draw(ACCEPTED, p):
            weights.append(one.weight)
            wrong.append(is_wrong)
    estimate = np.dot(weights, wrong) / sum(weights)
    assert estimate == pytest.approx(errors / len(shown), rel=0.15)
    assert np.mean(wrong) > 2 * estimate


def test_the_probability_of_a_draw_is_known_before_it_and_its_weight_is_bounded() -> None:
    draws = AuditDraws(0.1, rng=lambda: 0.0)
    first = draws.draw(ACCEPTED, 0.999)
    assert first is not None
    assert first.probability == pytest.approx(0.1)
    for _ in range(200):
        draws.draw(ACCEPTED, 0.999)
    sure, unsure = draws.draw(ACCEPTED, 1.0), draws.draw(ACCEPTED, 0.7)
    assert sure is not None
    assert unsure is not None
    assert sure.weight == 1
    assert unsure.probability == 1  # 300 times the mean.
    assert min(one.weight for one in (sure, unsure)) >= 0.5 / (1 + MAX_RELATIVE_ERROR)


@pytest.mark.parametrize(("ratio", "number", "drawn"), [(1.0, 0.9999, True), (0.0, 0.0, False)])
def test_all_or_none_can_be_drawn(ratio: float, number: float, *, drawn: bool) -> None:
    draws = AuditDraws(ratio, rng=lambda: number)
    assert [draws.draw(ACCEPTED, p) is not None for p in (0.99, 0.7, 1.0)] == list(repeat(drawn, 3))


def test_a_discarded_image_is_never_drawn() -> None:
    discarded = Decision(Label.GLASSES, Action.DISCARD, Reason.UNCERTAIN)
    assert AuditDraws(1.0).draw(discarded, 0.5) is None
