"""Second readings: which images, by whom, blind, and the agreement."""

import pytest
from sqlalchemy import func, select

from gate import Band
from service.errors import Conflict
from service.ids import new_id
from service.records.store import Store
from service.records.tables import Verdict, second_verdicts, verdicts
from service.review.progress import Progress, read_progress
from service.review.queue import ReviewQueue
from service.review.review_kind import ReviewKind
from service.review.reviewer import Reviewer
from service.review.second_reading import AGREEMENTS_READ
from service.review.served_version import ServedVersion
from tests.service.review.decisions import audited, decision, fill

ANNA, BELA, CLEO, ADMIN = Reviewer("Anna"), Reviewer("Béla"), Reviewer("Cleo"), Reviewer("boss", is_admin=True)
SERVED = ServedVersion("1", Band(0.4, 0.6), 0.01)
READ_AGAIN, NOT_AGAIN = "0" * 22 + "{:02}" + "35", "0" * 22 + "{:02}" + "36"
"""Records in and outside of the tenth."""


@pytest.fixture
def queue(store: Store) -> ReviewQueue:
    return ReviewQueue(store)


def claim(queue: ReviewQueue, reviewer: Reviewer, kind: ReviewKind = ReviewKind.AUDIT) -> list[str]:
    found, _ = queue.claim(reviewer, count=10, kind=kind)
    assert all(one["verdict"] is None for one in found)
    return [one["record"] for one in found]


def draw(store: Store, *records: str) -> list[str]:
    """Audited images labelled glasses."""
    return fill(store, [audited(record) for record in records])


def progress(store: Store, reviewer: Reviewer = ANNA) -> Progress:
    return read_progress(store, reviewer, SERVED)


def test_errors_and_a_tenth_of_the_agreements_go_blind_to_another_reviewer(store: Store, queue: ReviewQueue) -> None:
    again, agreed, wrong, unclear = draw(
        store, READ_AGAIN.format(1), NOT_AGAIN.format(2), NOT_AGAIN.format(3), READ_AGAIN.format(4)
    )
    (discarded,) = fill(store, [decision()])
    queue.judge(ANNA, again, Verdict.GLASSES)
    queue.judge(ANNA, agreed, Verdict.GLASSES)
    queue.judge(ANNA, wrong, Verdict.NO_GLASSES)
    queue.judge(ANNA, unclear, Verdict.UNCLEAR)
    queue.judge(ANNA, discarded, Verdict.NO_GLASSES)
    assert claim(queue, ANNA, ReviewKind.ALL) == []
    assert progress(store).waiting.second == 2
    assert claim(queue, BELA, ReviewKind.ALL) == [again, wrong]
    assert claim(queue, CLEO) == []  # Reserved.
    assert queue.judge(BELA, again, Verdict.GLASSES)
    assert queue.judge(BELA, wrong, Verdict.GLASSES)
    found = progress(store, BELA)
    assert (found.waiting.second, found.mine.glasses, found.audit.errors) == (0, 2, 1)
    with pytest.raises(Conflict, match="Anna has judged"):
        queue.judge(BELA, agreed, Verdict.GLASSES)
    assert claim(queue, CLEO) == []


def test_the_drawn_share_is_a_tenth_of_the_records() -> None:
    records = [new_id() for _ in range(4_000)]
    drawn = sum(record[24:] < "36" for record in records) / len(records)
    assert drawn == pytest.approx(AGREEMENTS_READ, abs=0.02)


def test_a_second_verdict_can_be_changed_and_withdrawn_by_its_reader_alone(store: Store, queue: ReviewQueue) -> None:
    (record,) = draw(store, READ_AGAIN.format(1))
    queue.judge(ANNA, record, Verdict.GLASSES)
    assert queue.judge(BELA, record, Verdict.UNCLEAR)
    assert not queue.judge(BELA, record, Verdict.UNCLEAR)
    assert queue.judge(BELA, record, Verdict.NO_GLASSES)
    with pytest.raises(Conflict):
        queue.judge(CLEO, record, Verdict.GLASSES)
    assert progress(store).agreement.differ == 1
    queue.retract(BELA, record)
    assert claim(queue, CLEO) == []
    assert claim(queue, BELA) == [record]
    assert queue.judge(ANNA, record, Verdict.UNCLEAR)  # The first verdict stays Anna's.
    with pytest.raises(Conflict):
        queue.judge(CLEO, record, Verdict.GLASSES)


def test_a_second_reader_never_becomes_the_first(store: Store, queue: ReviewQueue) -> None:
    (record,) = draw(store, READ_AGAIN.format(1))
    queue.judge(ANNA, record, Verdict.GLASSES)
    queue.judge(BELA, record, Verdict.GLASSES)
    queue.retract(ANNA, record)
    queue.release(ANNA)
    assert claim(queue, BELA) == []
    queue.judge(BELA, record, Verdict.NO_GLASSES)
    with store.begin() as connection:
        assert connection.scalar(select(func.count()).select_from(verdicts)) == 0
        assert connection.scalar(select(second_verdicts.c.verdict)) == "no_glasses"
    assert claim(queue, CLEO) == [record]


def test_kappa_weighs_the_agreements_that_were_read(store: Store, queue: ReviewQueue) -> None:
    assert progress(store).agreement.kappa is None
    pairs = [("glasses", "glasses")] * 3 + [("no_glasses", "no_glasses")] * 4 + [("no_glasses", "glasses")]
    for record, (first, second) in zip(draw(store, *map(READ_AGAIN.format, range(8))), pairs, strict=True):
        queue.judge(ANNA, record, Verdict(first))
        queue.judge(BELA, record, Verdict(second))
    found = progress(store).agreement
    # 3 agreements stand for 30.1, all errors for themselves.
    total = 3 / AGREEMENTS_READ + 5
    agreed, yes, both = (total - 1) / total, 3 / AGREEMENTS_READ / total, (3 / AGREEMENTS_READ + 1) / total
    chance = yes * both + (1 - yes) * (1 - both)
    assert (found.images, found.differ) == (8, 1)
    assert found.kappa == pytest.approx((agreed - chance) / (1 - chance))
    assert found.kappa is not None
    assert found.kappa_lower is not None
    assert found.kappa_upper is not None
    assert found.kappa_lower < found.kappa < found.kappa_upper <= 1
