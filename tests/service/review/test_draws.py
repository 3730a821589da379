"""The evidence of verdicts: by the order of draw, for one version and band, with gaps."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from common.evidence import Side, log_evidence
from gate import Band, Label
from gate.card import CardClass, TrueClass
from service.records.store import Store
from service.records.tables import Verdict
from service.review.audit import Audit, read_audit
from service.review.metrics import ReviewMetrics
from service.review.queue import ReviewQueue
from service.review.refresh import ReviewRefresh
from service.review.reviewer import Reviewer
from service.review.served_version import ServedVersion
from tests.service.review.decisions import audited, fill

ANNA = Reviewer("Anna")
RISK = 0.02
CERTIFIED = CardClass(
    certified=True,
    target_risk=RISK,
    accepted=400,
    errors=0,
    bound=0.0075,
    true_class=TrueClass(accepted=60, errors=1, bound=0.077),
)
SERVED = ServedVersion("1", Band(0.4, 0.6), RISK, dict.fromkeys(Label, CERTIFIED))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """SQLite alone: the tests of the audit read the same query from PostgreSQL."""
    store = Store(f"sqlite:///{tmp_path}/records.db")
    yield store
    store.close()


def draw(store: Store, labels: Sequence[str]) -> list[str]:
    """Accepted images in the order of their draw."""
    return fill(store, [audited(f"{at:026}", label=label) for at, label in enumerate(labels)])


def judge(store: Store, records: Iterable[str], verdict: str) -> None:
    for record in records:
        ReviewQueue(store).judge(ANNA, record, Verdict(verdict))


def audit(store: Store, served: ServedVersion = SERVED) -> Audit:
    with store.begin() as connection:
        return read_audit(connection, served)


def evidence(errors: Sequence[int], side: Side = Side.ABOVE) -> Any:
    return pytest.approx(np.exp(log_evidence(errors, np.ones(len(errors)), target=RISK, side=side)[-1]))


def test_verdicts_count_in_the_order_of_draw_not_of_reading(store: Store) -> None:
    records = draw(store, ["glasses"] * 120)
    # All errors are after the first restart of the evidence, where the order matters, and are read first.
    judge(store, records[60:70], "no_glasses")
    judge(store, records[:60] + records[70:], "glasses")
    found = audit(store)
    drawn = [0] * 60 + [1] * 10 + [0] * 50
    assert found.evidence_above == evidence(drawn)
    assert found.evidence_above != evidence([1] * 10 + [0] * 110)
    assert found.evidence_below == evidence(drawn, Side.BELOW)


def test_an_image_passed_over_counts_against_the_evidence_until_it_is_judged(store: Store) -> None:
    records = draw(store, ["glasses"] * 6)
    judge(store, [records[1]], "no_glasses")
    judge(store, [records[3]], "glasses")
    assert audit(store).evidence_above == evidence([0, 1, 0, 0])
    assert audit(store).evidence_below == evidence([], Side.BELOW)
    judge(store, [records[0]], "no_glasses")
    judge(store, [records[2]], "unclear")
    found = audit(store)
    assert found.evidence_above == evidence([1, 1, 0])
    assert (found.images, found.errors, found.waiting) == (3, 2, 2)


def test_a_gap_leaves_the_evidence_below_that_was_there_before_it(store: Store) -> None:
    records = draw(store, ["glasses"] * 60)
    judge(store, records[:40] + records[41:], "glasses")
    assert audit(store).evidence_below == evidence([0] * 40, Side.BELOW)


def test_changed_and_withdrawn_verdicts_leave_no_trace(store: Store) -> None:
    records = draw(store, ["no_glasses"] * 8)
    judge(store, records, "glasses")
    assert audit(store).evidence_above == evidence([1] * 8)
    judge(store, records, "no_glasses")
    assert audit(store).evidence_above == evidence([0] * 8)
    for record in records[4:]:
        ReviewQueue(store).retract(ANNA, record)
    assert audit(store).evidence_above == evidence([0] * 4)


def test_each_label_has_evidence_of_its_own_and_the_promises_share_one(store: Store) -> None:
    records = draw(store, ["glasses", "no_glasses"] * 6)
    judge(store, records, "no_glasses")
    found = audit(store)
    glasses, none = found.classes[Label.GLASSES], found.classes[Label.NO_GLASSES]
    assert (glasses.images, glasses.errors, glasses.evidence_above) == (6, 6, evidence([1] * 6))
    assert (none.images, none.errors, none.evidence_above) == (6, 0, evidence([0] * 6))
    assert found.evidence_above == evidence([1, 0] * 6)
    parts = [found.evidence_above, glasses.evidence_above, none.evidence_above]
    assert found.broken_promise == pytest.approx(np.mean(np.array(parts, float)))


def test_the_evidence_uses_the_weights_of_the_draws(store: Store) -> None:
    weights = [1.0, 0.1, 0.3]
    rows = [audited(f"{at:026}", draw_weight=weight) for at, weight in enumerate(weights)]
    judge(store, fill(store, rows), "no_glasses")
    expected = np.exp(log_evidence([1, 1, 1], weights, target=RISK, side=Side.ABOVE)[-1])
    assert audit(store).evidence_above == pytest.approx(expected)


def test_a_class_without_a_certificate_has_no_evidence(store: Store) -> None:
    judge(store, draw(store, ["glasses"] * 3), "no_glasses")
    half = ServedVersion("1", SERVED.band, None, {Label.GLASSES: CERTIFIED})
    found = audit(store, half)
    assert (found.evidence_above, found.classes[Label.NO_GLASSES].evidence_above) == (None, None)
    assert found.broken_promise == found.classes[Label.GLASSES].evidence_above == evidence([1, 1, 1])
    assert audit(store, ServedVersion("1", SERVED.band, None)).broken_promise is None


def test_a_new_version_or_band_starts_afresh(store: Store) -> None:
    judge(store, draw(store, ["glasses"] * 5), "no_glasses")
    for served in (ServedVersion("2", SERVED.band, RISK), ServedVersion("1", Band(0.3, 0.6), RISK)):
        assert audit(store, served).evidence_above == evidence([])


def test_the_metrics_show_the_evidence(store: Store) -> None:
    registry = CollectorRegistry()
    watch = ReviewRefresh(store, ReviewMetrics(registry), served=lambda: SERVED)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"lensgate_audit_{name}", labels)

    assert value("broken_promise") != value("broken_promise")
    assert value("evidence_above", label="all") != value("evidence_above", label="all")
    judge(store, draw(store, ["glasses"] * 4), "no_glasses")
    asyncio.run(watch.turn())
    assert value("evidence_above", label="all") == value("evidence_above", label="glasses") == evidence([1] * 4)
    assert value("evidence_below", label="glasses") == evidence([1] * 4, Side.BELOW)
    assert value("evidence_above", label="no_glasses") == 1
    assert value("broken_promise") == audit(store).broken_promise
