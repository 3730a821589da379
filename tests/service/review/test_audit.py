import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from scipy.stats import binomtest
from sqlalchemy import insert, select

from gate import Band, Card, Label
from gate.card import CardBand, CardClass, TrueClass
from service.records.store import Store
from service.records.tables import Verdict, images, shadow_decisions, verdicts
from service.records.writer import Limits, prune
from service.review.audit import Audit, read_audit
from service.review.metrics import ReviewMetrics
from service.review.queue import ReviewQueue
from service.review.refresh import ReviewRefresh
from service.review.reviewer import Reviewer
from service.review.served_version import ServedVersion
from service.review.shadow_comparison import read_comparisons
from tests.service.review.decisions import NOW, audited, decision, fill
from tests.support.models import brightness_model
from tests.support.servers import TIMEOUT

ANNA = Reviewer("Anna")
SERVED = ServedVersion("1", Band(0.4, 0.6), 0.01)


def audit(store: Store, served: ServedVersion = SERVED) -> Audit:
    with store.begin() as connection:
        return read_audit(connection, served)


def judge(store: Store, *said: str, **changes: Any) -> None:
    records = fill(store, [audited(**changes) for _ in said])
    for record, verdict in zip(records, said, strict=True):
        ReviewQueue(store).judge(ANNA, record, Verdict(verdict))


def card(**band: Any) -> Card:
    return brightness_model(band=CardBand(**band)).card


def test_an_error_is_a_verdict_that_is_not_the_models_label(store: Store) -> None:
    judge(store, *["glasses"] * 18, "no_glasses", "unclear")
    judge(store, "no_glasses", "glasses", label="no_glasses", probability=0.01)
    fill(store, [audited() for _ in range(3)])
    fill(store, [audited()], jpeg=None)
    found = audit(store)
    exact = binomtest(2, 21).proportion_ci(0.95, "exact")
    assert (found.drawn, found.images, found.errors, found.unclear, found.waiting, found.lost) == (26, 21, 2, 1, 4, 1)
    assert found.error_ratio == pytest.approx(2 / 21)
    assert (found.error_lower, found.error_upper) == pytest.approx((exact.low, exact.high))
    assert (found.least_possible, found.most_possible) == pytest.approx((2 / 26, 7 / 26))


def test_what_was_deleted_before_it_was_judged_still_counts_as_drawn(store: Store) -> None:
    judge(store, "glasses", "no_glasses")
    fill(store, [decision()])
    for _ in range(2):
        fill(store, [audited() for _ in range(3)])
        fill(store, [audited(version="0")])
        prune(store, Limits(max_rows=1, max_days=1, max_image_bytes=1), now=NOW + 10**7)
    found = audit(store)
    assert (found.drawn, found.images, found.waiting, found.lost) == (8, 2, 6, 6)
    assert (found.least_possible, found.most_possible) == pytest.approx((1 / 8, 7 / 8))
    assert audit(store, ServedVersion("0", SERVED.band, None)).lost == 2


def test_a_skipped_audit_image_is_kept_for_other_reviewers(store: Store) -> None:
    skipped, unread = fill(store, [audited() for _ in range(2)])
    ReviewQueue(store).skip(ANNA, skipped)
    (discarded,) = fill(store, [decision()])
    ReviewQueue(store).skip(ANNA, discarded)
    prune(store, Limits(max_rows=1, max_days=1, max_image_bytes=1), now=NOW + 10**7)
    found = audit(store)
    assert (found.drawn, found.waiting, found.lost) == (2, 2, 1)
    with store.begin() as connection:
        assert list(connection.scalars(select(images.c.record))) == [skipped]
    assert unread != skipped


def test_shadow_draws_are_excluded_from_the_audit(store: Store) -> None:
    drawn: dict[str, Any] = {"draw": "shadow", "draw_probability": 0.1, "draw_weight": 0.0}
    records = fill(store, [audited(**drawn) for _ in range(5)])
    shadows = [
        {"record": record, "version": "2", "probability": 0.1, "label": label, "decision": "accept"}
        for record, label in zip(records, ["no_glasses"] * 4 + ["glasses"], strict=True)
    ]
    with store.begin() as connection:
        connection.execute(insert(shadow_decisions), shadows)
    for record, said in zip(records, ["no_glasses", "no_glasses", "glasses", "unclear", "glasses"], strict=True):
        ReviewQueue(store).judge(ANNA, record, Verdict(said))
    judge(store, "glasses")
    found = audit(store)
    assert (found.drawn, found.images, found.errors, found.error_ratio) == (1, 1, 0, 0.0)
    with store.begin() as connection:
        (compared,) = read_comparisons(connection, SERVED)
    assert (compared.version, compared.differences, compared.judged) == ("2", 5, 3)
    assert (compared.served_right, compared.shadow_right) == (1, 2)


def test_error_ratio_is_weighted_by_the_draws(store: Store) -> None:
    judge(store, *["glasses"] * 10, "no_glasses")
    judge(store, *["no_glasses"] * 4, *["glasses"] * 4, draw="claimed_error", draw_probability=0.01, draw_weight=0.1)
    fill(store, [audited(draw="claimed_error", draw_probability=0.01, draw_weight=0.2)])
    found = audit(store)
    assert (found.images, found.errors) == (19, 5)
    assert found.error_ratio == pytest.approx(1.4 / 11.8)
    assert found.effective_images == pytest.approx(11.8**2 / 11.08)
    # 12.6 draws with 1.5 errors, rounded to the wider side.
    low, high = (binomtest(errors, 12).proportion_ci(0.95, "exact") for errors in (1, 2))
    assert (found.error_lower, found.error_upper) == pytest.approx((low.low, high.high))
    assert (found.least_possible, found.most_possible) == pytest.approx((1.4 / 12, 1.6 / 12))


def test_discarded_images_and_other_versions_and_bands_are_excluded_from_the_audit(store: Store) -> None:
    judge(store, "no_glasses", version="0")
    judge(store, "no_glasses", band_low=0.3)
    judge(store, "no_glasses", band_high=0.7)
    (discarded,) = fill(store, [decision()])
    ReviewQueue(store).judge(ANNA, discarded, Verdict.NO_GLASSES)
    found = audit(store)
    assert (found.drawn, found.errors) == (0, 0)
    assert (found.error_ratio, found.error_lower, found.error_upper, found.most_possible) == (None,) * 4


def test_a_band_with_many_digits_is_found_again(store: Store) -> None:
    band = Band(0.1 + 0.2, 2 / 3)
    judge(store, "glasses", band_low=band.low, band_high=band.high)
    assert audit(store, ServedVersion("1", band, None)).images == 1


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        (ServedVersion.of(card(), Band()), None),
        (ServedVersion.of(card(low=0.2, high=0.8, chosen_by="certified", target_risk=0.01), Band(0.2, 0.8)), 0.01),
        (ServedVersion.of(card(low=0.2, high=0.8, chosen_by="certified", target_risk=0.01), Band(0.3, 0.8)), None),
    ],
    ids=["the paper's band", "a certified band", "the operator's band instead of the certified one"],
)
def test_operator_band_has_no_certified_risk(served: ServedVersion, expected: float | None) -> None:
    assert served.certified_risk == expected


def test_each_label_has_a_certificate_of_its_own() -> None:
    true_class = TrueClass(accepted=60, errors=1, bound=0.077)
    sure = CardClass(certified=True, target_risk=0.01, accepted=400, errors=0, bound=0.0075, true_class=true_class)
    unsure = sure.model_copy(update={"certified": False, "bound": 0.05, "images_needed": 240})
    band = {"low": 0.2, "high": 0.8, "chosen_by": "certified", "confidence": 0.95}
    served = ServedVersion.of(card(**band, classes={Label.GLASSES: unsure, Label.NO_GLASSES: sure}), Band(0.2, 0.8))
    registry = CollectorRegistry()
    ReviewMetrics(registry).update_certificate(served)

    def value(name: str, label: str) -> float | None:
        return registry.get_sample_value(f"lensgate_certified_class_{name}", {"label": label})

    assert (value("risk", "no_glasses"), value("bound", "no_glasses")) == (0.01, 0.0075)
    assert value("risk", "glasses") != value("risk", "glasses")
    assert value("bound", "glasses") == 0.05
    assert served.certified_risk is None
    assert (
        ServedVersion.of(card(**band, classes={Label.GLASSES: sure, Label.NO_GLASSES: sure}), Band(0.3, 0.8)).classes
        == {}
    )


def test_the_metrics_show_what_was_counted(store: Store) -> None:
    registry = CollectorRegistry()
    metrics = ReviewMetrics(registry)
    watch = ReviewRefresh(store, metrics, served=lambda: SERVED)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"lensgate_{name}", labels)

    for name in ("audit_error_ratio", "audit_error_lower", "audit_error_upper", "certified_risk"):
        assert value(name) != value(name)
    asyncio.run(watch.turn())
    assert value("certified_risk") == 0.01
    assert value("audit_error_ratio") != value("audit_error_ratio")
    judge(store, *["glasses"] * 9, "no_glasses")
    fill(store, [decision(), decision(), audited()])
    asyncio.run(watch.turn())
    assert value("review_queue_images", kind="discarded") == 2
    assert value("review_queue_images", kind="audit") == 1
    assert (value("audit_images"), value("audit_errors"), value("audit_error_ratio")) == (10, 1, 0.1)
    exact = binomtest(1, 10).proportion_ci(0.95, "exact")
    assert (value("audit_error_lower"), value("audit_error_upper")) == pytest.approx((exact.low, exact.high))


def test_refresh_continues_after_store_failures(store: Store) -> None:
    registry = CollectorRegistry()
    judge(store, "glasses")
    counted = asyncio.Event()

    def served() -> ServedVersion:
        # Asked at the beginning of each count: the first has ended when the third begins.
        asked.append(1)
        if len(asked) == 2:
            raise RuntimeError("a fault of ours")
        if len(asked) == 3:
            counted.set()
        return SERVED

    async def run() -> None:
        async with ReviewRefresh(store, ReviewMetrics(registry), served=served, seconds=0.0):
            await asyncio.wait_for(counted.wait(), TIMEOUT)

    asked: list[int] = []
    asyncio.run(run())
    assert registry.get_sample_value("lensgate_audit_images") == 1


def test_a_store_that_fails_leaves_what_was_counted_last(store: Store) -> None:
    registry = CollectorRegistry()
    watch = ReviewRefresh(store, ReviewMetrics(registry), served=lambda: SERVED)
    judge(store, "glasses")
    asyncio.run(watch.turn())
    with store.begin() as connection:
        verdicts.drop(connection)
    asyncio.run(watch.turn())
    assert registry.get_sample_value("lensgate_audit_images") == 1
