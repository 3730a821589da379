"""A wrong clock deletes no records; a correct one deletes old records, at the latest after the hold time."""

import random
import time

import pytest
from prometheus_client import CollectorRegistry

from service.metrics.records import RecordMetrics
from service.records.recorder import Buffering, Recorder
from service.records.retention import DAY, HOLD_SECONDS, SPEED, RetentionClock, Span
from service.records.store import Store
from service.records.writer import Limits, find_span
from tests.service.records.stores import entry, names, put
from tests.support.servers import wait_until

AGE = 30 * DAY
START = 1_700_000_000.0


class Times:
    """A clock and a monotonic one, which advance together until a test sets the first."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.passed, self.ahead = 0.0, ahead
        self.retention = RetentionClock(AGE, clock=lambda: START + self.ahead + self.passed, monotonic=self.monotonic)

    def monotonic(self) -> float:
        return self.passed

    def after(self, seconds: float) -> float:
        """Let time pass, as a recorder that looks every five minutes does; the time that ages are reckoned by."""
        found = self.retention.now()
        for _ in range(int(seconds // 300)):
            self.passed += 300
            found = self.retention.now()
        return found - START


FULL = Span(START - AGE, START - 60)


def test_retention_time_follows_a_correct_clock() -> None:
    times = Times()
    times.retention.begin(FULL)
    assert times.after(3600) == pytest.approx(3600, abs=60)
    assert times.after(10 * DAY) == pytest.approx(10 * DAY + 3600, abs=60)
    assert not times.retention.is_behind


@pytest.mark.parametrize("days", [2, 40, 10_000])
def test_a_clock_that_is_ahead_at_a_start_deletes_nothing_for_a_day_and_then_in_steps(days: int) -> None:
    times = Times(ahead=days * DAY)
    times.retention.begin(FULL)
    assert times.after(HOLD_SECONDS / 2) <= HOLD_SECONDS / 2
    assert times.retention.is_behind
    assert times.after(HOLD_SECONDS / 2 - 300) <= HOLD_SECONDS
    assert times.after(3600) <= HOLD_SECONDS + 3900 * SPEED


def test_a_clock_that_is_ahead_at_many_starts_deletes_nothing_either() -> None:
    newest = FULL.newest
    for _ in range(20):  # Each of which writes with the time that it takes for right.
        times = Times(ahead=40 * DAY)
        times.retention.begin(Span(FULL.oldest, newest))
        assert times.after(600) <= 600 * SPEED
        newest = START + times.ahead + times.passed


def test_a_clock_that_is_set_forward_and_back_deletes_nothing() -> None:
    times = Times()
    times.retention.begin(FULL)
    times.after(3600)
    times.ahead = 40 * DAY
    assert times.after(DAY / 2) <= DAY
    assert times.retention.is_behind
    times.ahead = -5 * DAY
    assert times.after(300) <= -4 * DAY
    assert not times.retention.is_behind
    times.ahead = 0.0
    assert times.after(3 * DAY) == pytest.approx(START + times.passed - START, abs=60)


def test_retention_time_catches_up_after_a_long_pause() -> None:
    times = Times(ahead=40 * DAY)
    times.retention.begin(FULL)
    assert times.after(4 * DAY) == pytest.approx(44 * DAY, abs=300)
    assert not times.retention.is_behind


def test_retention_time_never_exceeds_the_clock_nor_its_own_speed_limit() -> None:
    chance = random.Random(0)
    for _ in range(200):
        times = Times(ahead=chance.uniform(-50, 50) * DAY)
        times.retention.begin(chance.choice([None, FULL]))
        found = times.after(0)
        for _ in range(20):
            times.ahead += chance.choice([0, 0, 0, 1, -1]) * chance.uniform(0, 50) * DAY
            times.passed += (step := chance.uniform(0, 3600))
            before, found = found, times.after(0)
            assert found <= times.ahead + times.passed + 1e-3
            assert found <= before + SPEED * step + 1e-3


def test_span_is_from_the_oldest_to_the_newest_record(store: Store) -> None:
    assert find_span(store) is None
    put(store, [entry("a", time=100.0), entry("b", time=200.0)])
    assert find_span(store) == Span(100.0, 200.0)


@pytest.mark.parametrize("ahead", [0.0, 40 * DAY])
def test_start_with_a_clock_ahead_keeps_records_without_a_verdict(store: Store, ahead: float) -> None:
    now = time.time()
    put(store, [entry(f"{day}", discarded=True, time=now - day * DAY) for day in range(30, -1, -1)])
    registry = CollectorRegistry()
    recorder = Recorder(
        store,
        RecordMetrics(registry),
        limits=Limits(10**6, 30, 10**9),
        max_pixels=10**7,
        buffering=Buffering(prune_seconds=0.0),
        retention=RetentionClock(AGE, clock=lambda: time.time() + ahead),
    )
    recorder.start()
    assert registry.get_sample_value("lensgate_records_clock_ahead") == 0
    if ahead:
        wait_until(lambda: registry.get_sample_value("lensgate_records_clock_ahead") == 1)
    recorder.record(entry("new", time=now + ahead), b"")
    wait_until(lambda: registry.get_sample_value("lensgate_records_total", {"result": "written"}) == 1)
    assert len(names(store)) >= 31
    recorder.close()


@pytest.mark.parametrize("prunes", [True, False])
def test_one_worker_deletes_old_records_for_all(store: Store, prunes: bool) -> None:
    put(store, [entry("old", time=time.time() - 3600), entry("new", time=time.time())])
    registry = CollectorRegistry()
    recorder = Recorder(
        store,
        RecordMetrics(registry),
        limits=Limits(1, 30, 10**9),
        max_pixels=10**7,
        buffering=Buffering(prune_seconds=0.0),
        prunes=prunes,
    )
    recorder.start()
    recorder.record(entry("newer"), b"")
    wait_until(lambda: registry.get_sample_value("lensgate_records_total", {"result": "written"}) == 1)
    recorder.close()
    assert len(names(store)) == (1 if prunes else 3)
