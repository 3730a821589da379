"""The report by source from the records, in SQLite and PostgreSQL, over HTTP and as a metric."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import insert, update

from gate import Band
from service.ids import least_id
from service.metrics.sources import SourceMetrics
from service.records.store import Store
from service.records.tables import decisions
from service.review import sources
from service.review.served_version import ServedVersion
from service.review.source_watch import SourceWatch
from service.review.sources import SourceQuery, SourceReport, read_sources
from tests.support.servers import Running, running_service

from .decisions import decision

NOW = datetime.now(UTC)
SERVED = ServedVersion("1", Band(0.4, 0.6), None)


def rows(source: str | None, images: int, *, contradicted: int = 0, **changes: Any) -> Iterator[dict[str, Any]]:
    """Decisions of one source in the last minutes, oldest first; the newest ones contradict."""
    for index in range(images):
        at = NOW - timedelta(seconds=images - index)
        milliseconds = round(at.timestamp() * 1000)
        wrong = index >= images - contradicted
        yield (
            decision(
                least_id(milliseconds)[:13] + f"{hash((source, index)) % 10**13:013}",
                time=milliseconds * 1000,
                source=source,
                expected="glasses",
                probability=0.02 if wrong else 0.97,
                label="no_glasses" if wrong else "glasses",
                decision="discard" if wrong else "accept",
                reason="contradicted" if wrong else "confident",
            )
            | changes
        )


def put(store: Store, *groups: Iterator[dict[str, Any]]) -> None:
    """Write decisions."""
    with store.begin() as connection:
        connection.execute(insert(decisions), [row for group in groups for row in group])


def images_of(store: Store, **query: Any) -> dict[str | None, int]:
    report = read_sources(store, SourceQuery(**query), SERVED)
    return {one.source: one.images for one in report.sources}


def test_a_version_that_no_database_can_hold_has_no_images(store: Store) -> None:
    put(store, rows("a", 3))
    assert images_of(store, version="1\0") == {}


def test_a_broken_source_is_first_and_its_outcomes_have_intervals(store: Store) -> None:
    put(store, rows("good", 400, contradicted=8), rows(None, 300, contradicted=6), rows("bad", 100, contradicted=40))
    report = read_sources(store, SourceQuery(), SERVED)
    bad, *others = report.sources
    assert (bad.source, bad.is_broken, [one.is_broken for one in others]) == ("bad", True, [False, False])
    assert [one.source for one in others] == ["good", None]
    assert (report.images, report.source_count, report.is_complete, report.version) == (800, 3, True, "1")
    assert bad.contradicted.images == 40
    assert bad.contradicted.lower < 0.4 < bad.contradicted.upper
    (group,) = bad.expected
    assert [(each.low, each.accepted.images, each.contradicted.images) for each in group.bins] == [
        (0, 0, 40),
        (0.9, 60, 0),
    ]


def test_a_report_is_about_one_version_and_band_in_one_window(store: Store) -> None:
    old = {"time": round((NOW - timedelta(days=2)).timestamp() * 1e6)}
    put(store, rows("a", 5), rows("b", 4, version="2"), rows("c", 3, band_low=0.3))
    with store.begin() as connection:
        connection.execute(update(decisions).where(decisions.c.source == "a", decisions.c.probability > 0), old)
    assert images_of(store) == {}
    assert images_of(store, version="2") == {"b": 4}
    assert images_of(store, version="1") == {"c": 3}


def test_the_newest_images_of_each_source_count(store: Store) -> None:
    put(store, rows("a", 50, contradicted=5), rows("b", 8), rows(None, 20))
    assert images_of(store, newest=10) == {"a": 10, "b": 8, None: 10}
    report = read_sources(store, SourceQuery(newest=10), SERVED)
    assert next(one for one in report.sources if one.source == "a").contradicted.images == 5
    assert images_of(store, limit=1) == {"a": 50}


def test_a_report_reads_a_bounded_number_of_decisions(store: Store) -> None:
    put(store, rows("a", 50), rows("b", 50))
    report = read_sources(store, SourceQuery(), SERVED, max_rows=20)
    assert not report.is_complete
    assert report.images == 20
    assert report.since > NOW - timedelta(seconds=12)


def test_the_metric_names_a_source_while_it_is_broken(store: Store) -> None:
    registry = CollectorRegistry()
    metrics = SourceMetrics(registry)
    metrics.expect(["good", "bad"])
    watch = SourceWatch(store, metrics, served=lambda: SERVED)

    def broken() -> set[str]:
        asyncio.run(watch.turn())
        names = ("good", "bad", "other", "none")
        return {name for name in names if registry.get_sample_value("lensgate_source_broken", {"source": name})}

    put(store, rows("good", 400, contradicted=8), rows("other good", 400, contradicted=8))
    assert broken() == set()
    put(store, rows("bad", 60, contradicted=30), rows("unlisted", 60, contradicted=30))
    assert broken() == {"bad", "other"}
    with store.begin() as connection:
        long_ago = round((NOW - timedelta(hours=2)).timestamp() * 1e6)
        connection.execute(update(decisions).where(decisions.c.source == "bad"), {"time": long_ago})
    assert broken() == {"other"}


def test_a_store_that_cannot_be_read_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(f"sqlite:///{tmp_path}")  # A folder.
    watch = SourceWatch(store, SourceMetrics(CollectorRegistry()), served=lambda: SERVED)
    for _ in range(2):
        asyncio.run(watch.turn())
    (line,) = caplog.messages
    assert line.startswith("the sources cannot be compared: the record store is unavailable: unable to open")
    store.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    """A service whose store holds two sources."""
    url = f"sqlite:///{tmp_path / 'records.db'}"
    store = Store(url)
    put(store, rows("good", 400, contradicted=8), rows("bad", 100, contradicted=40))
    store.close()
    with running_service(records_url=url) as running:
        yield running


def test_endpoint_returns_the_report(service: Running) -> None:
    report = service.client.get("/v1/sources?version=1&newest=50").json()
    assert [one["source"] for one in report["sources"] if one["is_broken"]] == ["bad"]
    assert {one["images"] for one in report["sources"]} == {50}
    difference = report["sources"][0]["differences"][0]
    assert (difference["expected"], difference["reason"], difference["ratio"]) == ("glasses", "contradicted", 0.8)


def test_reports_asked_for_at_a_time_are_computed_once_or_twice(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, running = [], threading.Lock()

    def compute(*given: Any) -> SourceReport:
        assert running.acquire(blocking=False)
        calls.append(given)
        time.sleep(0.3)
        running.release()
        return read_sources(*given)

    monkeypatch.setattr(sources, "read_sources", compute)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(service.client.get, "/v1/sources?version=1") for _ in range(8)]
        assert {each.result().status_code for each in asked} == {200}
    # Those that came while the first was computed share one.
    assert len(calls) < 4


@pytest.mark.parametrize(
    "query",
    [
        {"since": "2026-01-02", "until": "2026-01-01"},
        {"since": "2026-01-01", "until": "2026-03-01"},
        {"until": "soon"},
        {"until": "20261130"},
        {"limit": "101"},
        {"newest": "0"},
        {"source": "bad"},
    ],
    ids=str,
)
def test_a_window_or_limit_that_does_not_fit_is_a_400(service: Running, query: dict[str, str]) -> None:
    answer = service.client.get("/v1/sources", params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert any(name in answer.json()["detail"] for name in query)


def test_without_records_it_is_a_404() -> None:
    with running_service(records_url="off") as running:
        assert running.client.get("/v1/sources").status_code == 404


@pytest.mark.parametrize("until", ["0001-01-01", "0001-01-01T00:00:00%2B12:00", "9999-12-31T23:59:59-12:00"])
def test_window_at_the_limits_of_datetime_is_not_a_500(service: Running, until: str) -> None:
    assert service.client.get(f"/v1/sources?until={until}").status_code in (200, 400)
