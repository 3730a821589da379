"""Decisions go behind the answers to the store, whatever the store does."""

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, text

from service.errors import RecordsUnavailable
from service.http.failed_request import FailedRequest
from service.metrics.records import RecordMetrics
from service.records import sqlite
from service.records.audit_draws import Draw, DrawKind
from service.records.decision_record import DecisionRecord
from service.records.differences import Differences
from service.records.failures import FailureFilters, find_failures
from service.records.query import find_image, find_one
from service.records.recorder import Buffering, Recorder
from service.records.retention import DAY, RetentionClock
from service.records.store import Store
from service.records.writer import Limits
from tests.support.images import encode, flat, portrait
from tests.support.servers import wait_until

from .conftest import make_database
from .stores import entry, names
from .test_differences import PIXELS, SHADOW, decided, recorded

LIMITS = Limits(max_rows=10**6, max_days=10**4, max_image_bytes=10**9)
BUFFERING = Buffering()
BODY = encode(portrait(512))


class Breakable(Store):
    """A store that can be taken away."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.is_away = threading.Event()
        self.asked = threading.Event()
        self.cause = "it is away"

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        self.asked.set()
        if self.is_away.is_set():
            raise RecordsUnavailable(self.cause)
        with super().begin() as connection:
            yield connection


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def breakable(tmp_path: Path) -> Iterator[Breakable]:
    store = Breakable(f"sqlite:///{tmp_path / 'records.db'}")
    yield store
    store.close()


class Unexamined(DecisionRecord):
    """One that the examiner never comes to."""

    __slots__ = ()

    is_processed = property(lambda _: False, lambda *_: None)


def unexamined(name: str, **changes: Any) -> DecisionRecord:
    made = entry(name, **changes)
    made.__class__ = Unexamined
    return made


@contextmanager
def recording(
    store: Store,
    registry: CollectorRegistry,
    *,
    buffering: Buffering = BUFFERING,
    retention: RetentionClock | None = None,
    differences: Differences | None = None,
) -> Iterator[Recorder]:
    recorder = Recorder(
        store,
        RecordMetrics(registry),
        limits=LIMITS,
        max_pixels=10**7,
        buffering=buffering,
        retention=retention,
        differences=differences,
    )
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.close()


def rows(registry: CollectorRegistry, result: str) -> float | None:
    return registry.get_sample_value("lensgate_records_total", {"result": result})


def images(registry: CollectorRegistry, result: str) -> float | None:
    return registry.get_sample_value("lensgate_record_images_total", {"result": result})


def test_a_decision_can_be_read_a_moment_later(store: Store, registry: CollectorRegistry) -> None:
    with recording(store, registry) as recorder:
        recorder.record(entry("one", sha256=None), BODY)
        wait_until(lambda: rows(registry, "written"))
        assert find_one(store, "one")["sha256"]
        assert find_one(store, "one")["image"] is None


def test_discarded_and_audited_images_have_a_preview(store: Store, registry: CollectorRegistry) -> None:
    kept = [entry("discarded", discarded=True), entry("audited", draw=Draw(DrawKind.UNIFORM, 0.1, 1.0))]
    with recording(store, registry) as recorder:
        for one in [*kept, entry("accepted")]:
            recorder.record(one, BODY)
        wait_until(lambda: registry.get_sample_value("lensgate_record_images_total", {"result": "written"}) == 2)
        assert all(find_image(store, one.record).startswith(b"\xff\xd8") for one in kept)


def test_preview_waits_for_its_delayed_row(breakable: Breakable, registry: CollectorRegistry) -> None:
    first, second = unexamined("first", taken=math.inf), entry("second", discarded=True)
    with recording(breakable, registry, buffering=Buffering(prune_seconds=0.0)) as recorder:
        recorder.record(first, BODY)
        recorder.record(second, BODY)
        wait_until(lambda: second.is_processed)
        for _ in range(2):  # The thread comes by.
            breakable.asked.clear()
            wait_until(breakable.asked.is_set)
        assert names(breakable) == []
    assert find_image(breakable, second.record).startswith(b"\xff\xd8")


def test_log_of_sqlite_is_emptied_once_it_has_grown(
    breakable: Breakable, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LOG_BYTES", 0)
    names(breakable)
    log = Path(f"{breakable.engine.url.database}-wal")
    assert log.stat().st_size > 0
    with recording(breakable, registry):
        wait_until(lambda: log.stat().st_size == 0)


def test_clock_set_back_does_not_delay_writes(breakable: Breakable, registry: CollectorRegistry) -> None:
    with recording(breakable, registry) as recorder:
        recorder.record(unexamined("one", time=time.time() + 3600), BODY)
        wait_until(lambda: rows(registry, "written") == 1)


def test_pictures_beyond_the_limit_are_dropped_and_counted(breakable: Breakable, registry: CollectorRegistry) -> None:
    breakable.is_away.set()
    with recording(breakable, registry, buffering=Buffering(max_previews=2)) as recorder:
        for number in range(5):
            recorder.record(entry(str(number), discarded=True), BODY)
        wait_until(lambda: images(registry, "dropped") == 3)
        breakable.is_away.clear()
        wait_until(lambda: images(registry, "written") == 2)
        wait_until(lambda: rows(registry, "written") == 5)


def test_closing_writes_the_queue(store: Store, registry: CollectorRegistry) -> None:
    with recording(store, registry) as recorder:
        for number in range(50):
            recorder.record(entry(str(number), discarded=number % 10 == 0), encode(flat(number)))
    assert len(names(store)) == 50
    assert rows(registry, "written") == 50
    assert registry.get_sample_value("lensgate_record_images_total", {"result": "written"}) == 5


def test_decisions_are_queued_while_the_store_is_unavailable_and_written_afterwards(
    breakable: Breakable, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    breakable.is_away.set()
    with recording(breakable, registry) as recorder, caplog.at_level(logging.WARNING):
        recorder.record(entry("waits"), BODY)
        wait_until(lambda: recorder.is_failing)
        assert registry.get_sample_value("lensgate_records_failing") == 1
        assert registry.get_sample_value("lensgate_record_failures_total")
        breakable.is_away.clear()
        wait_until(lambda: registry.get_sample_value("lensgate_records_failing") == 0)
        assert names(breakable) == ["waits"]
    assert "decisions are recorded again" in caplog.messages


def test_recovered_store_resets_the_failing_gauge_without_a_write(
    breakable: Breakable, registry: CollectorRegistry
) -> None:
    breakable.is_away.set()
    with recording(breakable, registry) as recorder:
        wait_until(lambda: recorder.is_failing)
        breakable.is_away.clear()
        wait_until(lambda: registry.get_sample_value("lensgate_records_failing") == 0)


def test_every_cause_of_an_outage_is_logged_once(
    breakable: Breakable, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    breakable.is_away.set()
    with recording(breakable, registry, buffering=Buffering(retry_seconds=(0.01,))):
        for breakable.cause in ("it is being opened", "the disk is full", "it is being opened"):
            breakable.asked.clear()
            wait_until(lambda: f"queued: {breakable.cause}" in caplog.text)
            wait_until(breakable.asked.is_set)
    queued = [line for line in caplog.messages if "are queued" in line]
    assert [line.rpartition(": ")[2] for line in queued] == ["it is being opened", "the disk is full"]


def test_unexpected_exception_drops_one_batch_and_the_writer_continues(
    breakable: Breakable, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    with recording(breakable, registry) as recorder:
        recorder.record(entry("odd", expected="no label"), BODY)  # It has no value: `row` fails.
        wait_until(lambda: rows(registry, "dropped") == 1)
        assert "unexpected fault" in caplog.text
        recorder.record(entry("good"), BODY)
        wait_until(lambda: rows(registry, "written") == 1)
        assert names(breakable) == ["good"]


def test_decisions_beyond_the_limit_are_dropped_and_counted(breakable: Breakable, registry: CollectorRegistry) -> None:
    breakable.is_away.set()
    with recording(breakable, registry, buffering=Buffering(max_rows=3)) as recorder:
        for number in range(5):
            recorder.record(entry(str(number)), BODY)
        assert recorder.queued == 3
        assert rows(registry, "dropped") == 2
        breakable.is_away.clear()
        wait_until(lambda: rows(registry, "written") == 3)
    assert set(names(breakable)) == {"0", "1", "2"}


def test_unwritten_decisions_count_as_dropped_at_shutdown(breakable: Breakable, registry: CollectorRegistry) -> None:
    breakable.is_away.set()
    with recording(breakable, registry) as recorder:
        recorder.record(entry(), BODY)
        wait_until(breakable.asked.is_set)
    assert rows(registry, "dropped") == 1


def test_closed_connections_are_reopened(postgres: str, registry: CollectorRegistry) -> None:
    store, other = (Store(make_database(postgres)) for _ in range(2))
    with recording(store, registry) as recorder:
        recorder.record(entry("before"), BODY)
        wait_until(lambda: rows(registry, "written") == 1)
        with other.begin() as connection:
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            connection.execute(text(cut), {"name": store.engine.url.database})
        recorder.record(entry("after"), BODY)
        wait_until(lambda: rows(registry, "written") == 2)
        assert names(store) == ["after", "before"]
    other.close()


def test_expired_records_are_deleted_while_the_recorder_runs(store: Store, registry: CollectorRegistry) -> None:
    hasty = RetentionClock(30 * DAY, monotonic=lambda: time.monotonic() * 10**9)
    with recording(store, registry, buffering=Buffering(prune_seconds=0.0), retention=hasty) as recorder:
        recorder.record(entry("old", time=0.0), BODY)
        wait_until(lambda: rows(registry, "written"))
        recorder.record(entry("new"), BODY)
        wait_until(lambda: names(store) == ["new"])


def test_closing_writes_the_last_failed_requests(store: Store, registry: CollectorRegistry) -> None:
    with recording(store, registry) as recorder:
        failed = FailedRequest(status=503, code="draining", detail="it ends", path="/v1/decisions", request_id="r1")
        recorder.failures.observe(failed)
    found, _ = find_failures(store, FailureFilters())
    assert [one["request_id"] for one in found] == ["r1"]


def test_closing_writes_the_last_differences_of_a_shadow(store: Store, registry: CollectorRegistry) -> None:
    differences = Differences(1.0)
    answered = decided(store)
    with recording(store, registry, differences=differences):
        differences.differs(answered, SHADOW, PIXELS)
    assert [row[0] for row in recorded(store)] == [answered.record]
