import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from sqlalchemy import delete, select

from service.errors import Conflict, NotFound, RecordsUnavailable
from service.records.store import Store
from service.records.tables import Verdict, claims, decisions, images, verdicts
from service.review.queue import LEASE_SECONDS, ReviewQueue
from service.review.review_kind import ReviewKind
from service.review.reviewer import Reviewer
from tests.service.review.decisions import audited, decision, fill

ANNA, BELA, ADMIN = Reviewer("Anna"), Reviewer("Béla"), Reviewer("Cleo", is_admin=True)


@dataclass
class Clock:
    seconds: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(store: Store, clock: Clock) -> ReviewQueue:
    return ReviewQueue(store, clock=clock)


def claim(
    queue: ReviewQueue, reviewer: Reviewer = ANNA, count: int = 100, kind: ReviewKind = ReviewKind.ALL
) -> list[str]:
    return [image["record"] for image in queue.claim(reviewer, count=count, kind=kind)[0]]


def said(store: Store) -> Sequence[tuple[str, str, str, int]]:
    with store.begin() as connection:
        return [tuple(row) for row in connection.execute(select(verdicts).order_by(verdicts.c.record))]


def test_the_oldest_images_are_claimed_first_and_kept_for_five_minutes(
    store: Store, queue: ReviewQueue, clock: Clock
) -> None:
    records = fill(store, [decision() for _ in range(5)])
    found, expires = queue.claim(ANNA, count=3, kind=ReviewKind.ALL)
    assert [image["record"] for image in found] == records[:3]
    assert found[0]["image"] == f"/v1/decisions/{records[0]}/image"
    assert expires == (clock() + LEASE_SECONDS) * 1e6
    assert claim(queue, BELA) == records[3:]


def test_claiming_again_renews_and_fills_up(store: Store, queue: ReviewQueue, clock: Clock) -> None:
    records = fill(store, [decision() for _ in range(6)])
    assert claim(queue, BELA, 1) == records[:1]
    assert claim(queue, ANNA, 2) == records[1:3]
    clock.seconds += LEASE_SECONDS - 1
    assert claim(queue, ANNA, 4) == records[1:5]
    clock.seconds += 2
    assert claim(queue, BELA) == [records[0], records[5]]


def test_a_claim_by_a_clock_that_ran_ahead_ends_when_it_is_set_right(
    store: Store, queue: ReviewQueue, clock: Clock
) -> None:
    records = fill(store, [decision() for _ in range(3)])
    clock.seconds += 3 * 3600
    assert claim(queue, BELA) == records
    clock.seconds -= 3 * 3600
    assert queue.judge(ANNA, records[2], Verdict.GLASSES)
    assert claim(queue, ANNA) == records[:2]
    # Replicas whose clocks differ a little keep each other's claims.
    clock.seconds -= LEASE_SECONDS - 1
    assert claim(queue, BELA) == []


def test_claimed_images_come_before_older_free_ones(store: Store, queue: ReviewQueue, clock: Clock) -> None:
    records = fill(store, [decision() for _ in range(4)])
    claim(queue, BELA, 2)
    clock.seconds += 10
    assert claim(queue, ANNA, 2) == records[2:]
    clock.seconds += LEASE_SECONDS - 5
    assert claim(queue, ANNA, 2) == records[2:]
    assert claim(queue, ANNA, 3) == [records[0], *records[2:]]


def test_only_waiting_images_with_a_preview_are_claimed(store: Store, queue: ReviewQueue) -> None:
    (discarded,) = fill(store, [decision()])
    (drawn,) = fill(store, [audited()])
    fill(store, [decision(), audited()], jpeg=None)
    fill(store, [decision(decision="accept", reason="confident")])
    assert claim(queue, kind=ReviewKind.DISCARDED) == [discarded]
    assert claim(queue, kind=ReviewKind.AUDIT) == [drawn]
    assert claim(queue) == [drawn, discarded]
    queue.judge(ANNA, drawn, Verdict.UNCLEAR)
    assert claim(queue) == [discarded]


def test_contradicted_images_come_first_then_the_audit_as_drawn_then_the_nearest_to_the_band(
    store: Store, queue: ReviewQueue
) -> None:
    far, near, inside = (decision(reason="unfamiliar", probability=p) for p in (0.99, 0.65, 0.45))
    early, late = audited(f"{1:026}", probability=0.999), audited(f"{2:026}", probability=0.61)
    contradicted = decision(reason="contradicted", probability=0.97)
    fill(store, [far, late, near, early, inside, contradicted])
    order = [row["record"] for row in (contradicted, early, late, inside, near, far)]
    assert claim(queue) == order
    assert claim(queue, kind=ReviewKind.DISCARDED) == [order[0], *order[3:]]
    queue.release(ANNA)
    assert claim(queue, BELA, 3) + claim(queue, ANNA, 3) == order


def test_a_verdict_is_kept_with_reviewer_and_time(store: Store, queue: ReviewQueue, clock: Clock) -> None:
    (record,) = fill(store, [decision()])
    assert claim(queue) == [record]
    assert queue.judge(ANNA, record, Verdict.NO_GLASSES)
    assert said(store) == [(record, "no_glasses", "Anna", clock() * 1e6)]
    with store.begin() as connection:
        assert connection.scalar(select(claims.c.record)) is None


def test_the_same_verdict_again_changes_nothing_and_another_replaces_it(
    store: Store, queue: ReviewQueue, clock: Clock
) -> None:
    (record,) = fill(store, [decision()])
    first = clock() * 1e6
    queue.judge(ANNA, record, Verdict.GLASSES)
    clock.seconds += 1
    assert not queue.judge(ANNA, record, Verdict.GLASSES)
    assert said(store) == [(record, "glasses", "Anna", first)]
    assert queue.judge(ANNA, record, Verdict.UNCLEAR)
    assert said(store) == [(record, "unclear", "Anna", first + 1e6)]


def test_verdict_on_an_image_judged_or_claimed_by_another_reviewer_is_a_conflict(
    store: Store, queue: ReviewQueue
) -> None:
    judged, claimed = fill(store, [decision(), decision()])
    queue.judge(ANNA, judged, Verdict.GLASSES)
    claim(queue, ANNA)
    with pytest.raises(Conflict, match="Anna has judged"):
        queue.judge(BELA, judged, Verdict.NO_GLASSES)
    with pytest.raises(Conflict, match="is looking at this image"):
        queue.judge(BELA, claimed, Verdict.NO_GLASSES)
    assert [row[:3] for row in said(store)] == [(judged, "glasses", "Anna")]


def test_a_late_verdict_counts_unless_somebody_else_took_the_image(
    store: Store, queue: ReviewQueue, clock: Clock
) -> None:
    first, second = fill(store, [decision(), decision()])
    claim(queue, ANNA)
    clock.seconds += LEASE_SECONDS + 1
    queue.judge(ANNA, first, Verdict.GLASSES)
    assert claim(queue, BELA) == [second]
    with pytest.raises(Conflict):
        queue.judge(ANNA, second, Verdict.GLASSES)


def test_a_verdict_taken_back_keeps_the_image_for_its_reviewer(store: Store, queue: ReviewQueue) -> None:
    (record,) = fill(store, [decision()])
    queue.judge(ANNA, record, Verdict.GLASSES)
    for _ in range(2):
        queue.retract(ANNA, record)
        assert said(store) == []
        assert claim(queue, BELA) == []
    assert claim(queue, ANNA) == [record]


def test_only_an_admin_takes_another_s_verdict_back(store: Store, queue: ReviewQueue) -> None:
    (record,) = fill(store, [decision()])
    queue.judge(ANNA, record, Verdict.GLASSES)
    with pytest.raises(Conflict, match="Anna has judged"):
        queue.retract(BELA, record)
    assert len(said(store)) == 1
    queue.retract(ADMIN, record)
    assert said(store) == []
    queue.judge(ADMIN, record, Verdict.UNCLEAR)


def test_a_skipped_image_is_for_others_until_the_skip_is_taken_back(store: Store, queue: ReviewQueue) -> None:
    first, second = fill(store, [decision(), decision()])
    claim(queue, ANNA)
    for _ in range(2):
        queue.skip(ANNA, first)
    assert claim(queue, ANNA) == [second]
    assert claim(queue, BELA) == [first]
    with pytest.raises(Conflict, match="is looking at this image"):
        queue.unskip(ANNA, first)
    assert claim(queue, ANNA) == [second]  # A skip that cannot be deleted remains.
    queue.release(BELA)
    queue.unskip(ANNA, first)
    assert claim(queue, ANNA) == [first, second]


def test_unskip_all_returns_every_skipped_image(store: Store, queue: ReviewQueue) -> None:
    records = fill(store, [decision() for _ in range(3)])
    for record in records:
        queue.skip(ANNA, record)
    assert claim(queue) == []
    queue.unskip_all(ANNA)
    assert claim(queue) == records


@pytest.mark.parametrize("kind", ["unknown", "accepted", "deleted"])
def test_image_outside_the_review_is_not_found(store: Store, queue: ReviewQueue, kind: str) -> None:
    (record,) = fill(store, [decision(**({"decision": "accept"} if kind == "accepted" else {}))])
    if kind == "unknown":
        record = "0" * 26
    if kind == "deleted":
        with store.begin() as connection:
            connection.execute(delete(decisions))
    for act in (lambda: queue.judge(ANNA, record, Verdict.GLASSES), lambda: queue.skip(ANNA, record)):
        with pytest.raises(NotFound, match="not in the review"):
            act()
    for take_back in (queue.retract, queue.unskip):
        with pytest.raises(NotFound, match="not in the review"):
            take_back(ANNA, record)


def test_a_verdict_counts_though_its_picture_was_deleted_meanwhile(store: Store, queue: ReviewQueue) -> None:
    (record,) = fill(store, [decision()])
    claim(queue)
    with store.begin() as connection:
        connection.execute(delete(images))
    assert claim(queue) == []
    assert queue.judge(ANNA, record, Verdict.GLASSES)


def test_many_reviewers_at_once_never_see_the_same_image(store: Store) -> None:
    records = fill(store, [decision() for _ in range(120)])
    start = threading.Barrier(4)

    def review(name: str) -> list[str]:
        # A store of its own, as another process has.
        own = Store(store.engine.url.render_as_string(hide_password=False))
        queue, seen = ReviewQueue(own), []
        start.wait()
        while found := claim(queue, Reviewer(name), 7):
            for record in found:
                assert queue.judge(Reviewer(name), record, Verdict.GLASSES)
            seen += found
        own.close()
        return seen

    with ThreadPoolExecutor(4) as threads:
        seen = [record for part in threads.map(review, "ABCD") for record in part]
    assert sorted(seen) == records
    assert len(said(store)) == 120


def test_concurrent_verdicts_on_an_unclaimed_image_conflict_for_one_reviewer(store: Store) -> None:
    queue = ReviewQueue(store)
    records = fill(store, [decision() for _ in range(20)])
    start = threading.Barrier(2)

    def judge(reviewer: Reviewer) -> int:
        refused = 0
        for record in records:
            start.wait()
            try:
                queue.judge(reviewer, record, Verdict.GLASSES)
            except Conflict:
                refused += 1
        return refused

    with ThreadPoolExecutor(2) as threads:
        refused = list(threads.map(judge, [ANNA, BELA]))
    assert sum(refused) == len(said(store)) == 20


def test_unavailable_store_raises_records_unavailable(store: Store, queue: ReviewQueue) -> None:
    with store.begin() as connection:
        for table in (claims, verdicts):
            table.drop(connection)
    with pytest.raises(RecordsUnavailable, match="is unavailable"):
        queue.claim(ANNA, count=1, kind=ReviewKind.ALL)
