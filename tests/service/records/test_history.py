"""Counts of decisions and failures by time, which survive restarts and deletions."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gate import Action, Decision, Label, Reason
from gate.card import NoveltyThreshold
from service.errors import RecordsUnavailable
from service.http.failed_request import FailedRequest
from service.records.failures import EXAMPLES_KEPT, EXAMPLES_PER_STEP, FailureFilters, FailureLog, find_failures
from service.records.outcomes import HistoryReader, Window, read_history
from service.records.query import find_one
from service.records.retention import DAY
from service.records.store import Store
from service.records.writer import Limits, prune, write

from .stores import CARD, NOON, entry, put

FAILED = FailedRequest(
    status=422,
    code="unsupported_image",
    detail="not an image",
    path="/v1/decisions",
    request_id="R1",
    identity="a/b",
    source="gan-7",
    token="gen",  # noqa: S106 - a name.
)
WRONG = Decision(Label.NO_GLASSES, Action.DISCARD, Reason.CONTRADICTED)


def test_a_window_is_read_from_the_store_by_step_reason_and_version(store: Store) -> None:
    new = CARD.model_copy(update={"version": "2"})
    put(store, [entry(time=NOON - 120), entry(time=NOON - 50, discarded=True), entry(time=NOON - 10, card=new)])
    put(store, [entry(time=NOON - 9, card=new, decision=WRONG), entry(time=NOON - 1000)])
    found = read_history(store, Window.QUARTER, now=NOON + 1)
    assert (len(found.times), found.step_seconds, found.times[-1]) == (60, 15, NOON + 15)
    assert (sum(found.decisions), sum(found.uncertain), sum(found.contradicted)) == (4, 1, 1)
    assert found.decisions[-2:] == [2, 0]
    assert [(each.version, each.images, each.glasses, each.reject_ratio) for each in found.versions] == [
        ("2", 2, 1, 0.5),
        ("1", 2, 2, 0.5),
    ]
    assert [(change.time, change.version) for change in found.changes] == [(NOON - 15, "2")]
    hour, day = (read_history(store, window, now=NOON) for window in (Window.HOUR, Window.DAY))
    assert (sum(hour.decisions), sum(day.decisions), len(day.times)) == (5, 5, 96)


def test_a_rollback_is_a_change_too(store: Store) -> None:
    versions = [(600, "1"), (400, "2"), (200, "1")]
    put(store, [entry(time=NOON - age, card=CARD.model_copy(update={"version": version})) for age, version in versions])
    assert [change.version for change in read_history(store, Window.QUARTER, now=NOON).changes] == ["2", "1"]


def test_decisions_are_counted_once_and_outlive_their_records(store: Store) -> None:
    rows = [entry(time=NOON).row() for _ in range(3)]
    for _ in range(2):  # As after a response that was lost.
        assert write(store, rows, ()) == 0
    prune(store, Limits(max_rows=1, max_days=30, max_image_bytes=0), now=NOON)
    assert sum(read_history(store, Window.QUARTER, now=NOON).decisions) == 3
    prune(store, Limits(max_rows=1, max_days=30, max_image_bytes=0), now=NOON + 3 * 86_400)
    assert sum(read_history(store, Window.QUARTER, now=NOON).decisions) == 0


def test_failures_are_counted_and_examples_are_bounded(store: Store) -> None:
    now = NOON
    log = FailureLog(clock=lambda: now)
    for number in range(10):
        log.observe(replace(FAILED, identity=f"face-{number}"))
    log.observe(replace(FAILED, code="overloaded", status=429, identity=None, detail="full\0"))
    log.write(store)
    log.write(store)
    log.observe(FAILED)
    log.write(store)
    now += 60
    time.sleep(0.002)  # Records of one millisecond have no order.
    log.observe(FAILED)
    log.write(store)
    errors = read_history(store, Window.QUARTER, now=now).errors
    assert {code: sum(counts) for code, counts in errors.items()} == {"overloaded": 1, "unsupported_image": 12}
    (first,), cursor = find_failures(store, FailureFilters(code="unsupported_image", limit=1))
    names = ("id", "source", "token", "request_id", "status", "path")
    assert [first[name] for name in names] == ["a/b", "gan-7", "gen", "R1", 422, "/v1/decisions"]
    rest, end = find_failures(store, FailureFilters(code="unsupported_image", cursor=cursor))
    # Besides those of its step, one of the batch that would have had none.
    assert len({first["record"], *(each["record"] for each in rest)}) == 1 + EXAMPLES_PER_STEP + 1
    assert end is None
    (one,), _ = find_failures(store, FailureFilters(id="face-1"))
    assert one["code"] == "unsupported_image"
    assert len(find_failures(store, FailureFilters(request_id="R1"))[0]) == 1 + EXAMPLES_PER_STEP + 2


def test_the_newest_examples_of_each_code_are_kept(store: Store) -> None:
    now = NOON
    log = FailureLog(clock=lambda: now)
    log.observe(replace(FAILED, code="rare"))
    for _ in range(EXAMPLES_KEPT + 5):
        now += 15
        log.observe(FAILED)
    log.write(store)
    prune(store, Limits(max_rows=1, max_days=30, max_image_bytes=0), now=now)
    found, _ = find_failures(store, FailureFilters(code=FAILED.code, limit=EXAMPLES_KEPT))
    assert len(found) == EXAMPLES_KEPT
    assert find_failures(store, FailureFilters(code=FAILED.code, cursor=found[-1]["record"]))[0] == []
    assert len(find_failures(store, FailureFilters(code="rare"))[0]) == 1


def test_examples_from_before_the_clock_was_set_back_are_the_oldest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = NOON + 2 * DAY
    log = FailureLog(clock=lambda: now)
    monkeypatch.setattr("time.time_ns", lambda: round(now * 1e9))
    for number in range(EXAMPLES_KEPT + 2):
        now = NOON + (15 * number if number < 2 else 2 * DAY + 15 * number)
        log.observe(replace(FAILED, request_id=f"R{number}"))
    log.write(store)
    prune(store, Limits(max_rows=1, max_days=30, max_image_bytes=0), now=NOON, clock=NOON + 20)
    found, _ = find_failures(store, FailureFilters(limit=EXAMPLES_KEPT))
    assert {one["request_id"] for one in found} == {"R0", "R1", *(f"R{n}" for n in range(4, EXAMPLES_KEPT + 2))}


def test_failures_wait_for_a_store_that_is_away(tmp_path: Path, store: Store) -> None:
    (tmp_path / "away.db").mkdir()
    log = FailureLog(clock=lambda: NOON)
    log.observe(FAILED)
    with pytest.raises(RecordsUnavailable):
        log.write(Store(f"sqlite:///{tmp_path / 'away.db'}"))
    log.write(store)
    assert read_history(store, Window.QUARTER, now=NOON).errors == {"unsupported_image": [0] * 59 + [1]}


def test_failures_are_counted_once_although_the_response_to_a_commit_is_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = FailureLog(clock=lambda: NOON)
    commit = store.engine.dialect.do_commit

    def lose(connection: Any) -> None:
        commit(connection)
        raise store.engine.dialect.loaded_dbapi.OperationalError("the connection was closed")

    for number in (EXAMPLES_PER_STEP + 2, 3):  # The second batch has no room for further examples.
        for _ in range(number):
            log.observe(FAILED)
        with monkeypatch.context() as patched, pytest.raises(RecordsUnavailable):
            patched.setattr(store.engine.dialect, "do_commit", lose)
            log.write(store)
        log.observe(FAILED)  # Belongs to the next batch.
        log.write(store)
        log.write(store)
    assert read_history(store, Window.QUARTER, now=NOON).errors == {"unsupported_image": [0] * 59 + [10]}


def test_a_window_is_read_once_for_many_callers(store: Store) -> None:
    ticks = [0.0]
    reader = HistoryReader(clock=lambda: NOON, monotonic=lambda: ticks[0])
    before = reader.show(store, Window.HOUR)
    put(store, [entry(time=NOON)])
    assert reader.show(store, Window.HOUR) == before
    ticks[0] = Window.HOUR.fresh_seconds
    assert reader.show(store, Window.HOUR) != before


def test_a_decision_keeps_what_explains_it(store: Store) -> None:
    card = CARD.model_copy(update={"novelty_threshold": NoveltyThreshold(value=2.5, chosen_by="outliers")})
    put(store, [entry(card=card, stages={"read": 1.5, "queue": 0.25, "decode": 3.0, "inference": 2.0}, source="gan-7")])
    # Written by an earlier release: the values are unknown.
    write(store, [{**entry("old", time=NOON - 60).row(), "novelty_threshold": None, "read_ms": None}], ())
    assert find_one(store, "face")["stages"] == {"read": 1.5, "queue": 0.25, "decode": 3.0, "inference": 2.0}
    assert find_one(store, "face")["novelty_threshold"] == 2.5
    assert find_one(store, "old")["stages"]["read"] is None
