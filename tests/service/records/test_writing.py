"""Inserts, refused rows and deletions, in SQLite and PostgreSQL."""

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import String, event, func, insert, select

from service.errors import RecordsUnavailable
from service.ids import new_id
from service.records.preview_worker import Preview
from service.records.query import Page, find_all, find_image, find_one
from service.records.store import Store
from service.records.tables import decisions, images, outcomes, verdicts
from service.records.writer import Limits, prune, write
from tests.support.servers import TIMEOUT, wait_until

from .conftest import make_database
from .stores import NOON, entry, is_waiting, made_at, names, put

DAY = 86_400.0
ROOMY = Limits(max_rows=10**6, max_days=30, max_image_bytes=10**9)


def count(store: Store, table: object = decisions) -> int:
    with store.begin() as connection:
        return int(connection.scalar(select(func.count()).select_from(table)))  # type: ignore[arg-type]


def add_pictures(store: Store, records: list[str], *, size: int = 100) -> None:
    write(store, (), [Preview(record, b"x" * size, "0" * 64) for record in records])


def all_records(store: Store) -> list[str]:
    with store.begin() as connection:
        return list(connection.scalars(select(decisions.c.record)))


def say(store: Store, record: str) -> None:
    with store.begin() as connection:
        connection.execute(insert(verdicts).values(record=record, verdict="glasses", reviewer="ann", time=1))


def test_written_rows_are_read_back_unchanged(store: Store) -> None:
    made = entry("a face", discarded=True)
    put(store, [made])
    found = find_one(store, "a face")
    assert found == {
        "record": made.record,
        "id": "a face",
        "time": "2026-05-01T12:00:00.000000Z",
        "sha256": made.sha256,
        "glasses_probability": 0.5,
        "label": "glasses",
        "decision": "discard",
        "reason": "uncertain",
        "novelty": 0.1,
        "expected": None,
        "source": None,
        "band": {"low": 0.4, "high": 0.6},
        "model": {"name": "glasses", "version": "1"},
        "novelty_threshold": None,
        "stages": {"read": None, "queue": None, "decode": None, "inference": None},
        "latency_ms": 12.0,
        "audit": False,
        "draw": None,
        "draw_probability": None,
        "draw_weight": None,
        "image": None,
        "verdict": None,
    }


def test_retry_after_a_lost_commit_response_writes_no_row_twice(store: Store) -> None:
    made = entry()
    assert write(store, [made.row()], ()) == 0
    assert write(store, [made.row(), entry().row()], ()) == 0
    assert count(store) == 2


def test_invalid_row_is_dropped_and_the_others_are_written(store: Store) -> None:
    bad = entry()
    rows = [entry("before").row(), {**bad.row(), "label": None}, entry("after").row()]
    refused = write(store, rows, [Preview(str(rows[0]["record"]), b"jpeg", "1" * 64), Preview(bad.record, b"", "")])
    assert set(names(store)) == {"before", "after"}
    assert refused == 1
    assert find_image(store, str(rows[0]["record"])) == b"jpeg"


def test_a_hash_that_came_late_is_written_with_the_picture(store: Store) -> None:
    (record,) = put(store, [entry("late", sha256=None)])
    write(store, (), [Preview(record, b"jpeg", "a" * 64)])
    assert find_one(store, "late")["sha256"] == "a" * 64
    assert find_one(store, "late")["image"] == f"/v1/decisions/{record}/image"


def test_a_picture_whose_decision_was_deleted_meanwhile_is_no_fault(store: Store) -> None:
    assert write(store, [entry("kept").row()], [Preview("0" * 26, b"jpeg", "a" * 64)]) == 0
    assert (count(store), count(store, images)) == (1, 0)


def test_expired_record_is_deleted_with_its_preview(store: Store) -> None:
    records = put(store, [entry("old", time=NOON - 31 * DAY), entry("new", time=NOON - 29 * DAY)])
    add_pictures(store, records)
    assert not prune(store, ROOMY, now=NOON)
    assert names(store) == ["new"]
    assert count(store, images) == 1


def test_oldest_records_beyond_the_limit_are_deleted(store: Store) -> None:
    put(store, [entry(str(number)) for number in range(5)])
    prune(store, Limits(max_rows=2, max_days=30, max_image_bytes=10**9), now=NOON)
    assert names(store) == ["4", "3"]


def test_of_too_many_those_from_before_the_clock_was_set_back_go_first(store: Store) -> None:
    later = [entry(f"early {number}", record=made_at(NOON + 30 * DAY + number)) for number in range(3)]
    now = [entry(f"now {number}", record=made_at(NOON + 30 - number)) for number in range(3)]
    write(store, [one.row() for one in later + now], ())
    add_pictures(store, [one.record for one in later + now])
    prune(store, Limits(max_rows=4, max_days=90, max_image_bytes=10**9), now=NOON, clock=NOON)
    assert sorted(names(store)) == ["early 2", "now 0", "now 1", "now 2"]
    prune(store, Limits(max_rows=4, max_days=90, max_image_bytes=250), now=NOON, clock=NOON)
    assert sorted(name for name in names(store) if find_one(store, name)["image"]) == ["now 0", "now 1"]
    prune(store, Limits(max_rows=2, max_days=90, max_image_bytes=10**9), now=NOON, clock=NOON)
    assert names(store) == ["now 0", "now 1"]


@pytest.mark.parametrize("lag", [90.0, 6 * 3600.0])
def test_a_replica_whose_clock_is_slow_does_not_delete_what_others_have_just_made(store: Store, lag: float) -> None:
    """SQLite has one host, with one clock: what is ahead of it there was made before it was set back."""
    made = [entry(f"{number}", record=made_at(NOON + number)) for number in (-20, -10, lag, lag + 1)]
    write(store, [one.row() for one in made], ())
    add_pictures(store, [one.record for one in made])
    prune(store, Limits(max_rows=2, max_days=30, max_image_bytes=150), now=NOON, clock=NOON)
    oldest = made[2:] if store.is_sqlite else made[:2]
    left = {record: find_one(store, record)["image"] is not None for record in all_records(store)}
    assert left.keys() == {one.record for one in made if one not in oldest}
    assert sum(left.values()) == 1


def test_pages_hold_every_record_once_whatever_the_clock_did(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.records.query.PAGE", 3)
    steps = [0, 5, -3600, -3599.9995, -3599.999, 7200, 7200, -(10**9), 1]
    monkeypatch.setattr("time.time_ns", lambda: round((NOON + steps[0]) * 1e9))
    for _ in range(len(steps)):
        entries = [entry() for _ in range(4)]
        assert len({one.record for one in entries}) == 4
        write(store, [one.row() for one in entries], ())
        steps = steps[1:] + steps[:1]
    before, found = set(all_records(store)), list[str]()
    for page in find_all(store, Page()):
        found += [one["record"] for one in page]
        write(store, [entry().row()], ())  # Meanwhile others are written, before and behind the reader's place.
        steps = steps[1:] + steps[:1]
    assert len(found) == len(set(found))
    assert len(before) == 36
    assert before <= set(found)


def test_previews_beyond_the_limit_are_deleted_without_their_decisions(store: Store) -> None:
    add_pictures(store, put(store, [entry(str(number)) for number in range(10)]))
    prune(store, Limits(max_rows=10**6, max_days=30, max_image_bytes=500), now=NOON)
    kept = [name for name in names(store) if find_one(store, name)["image"]]
    assert kept == ["9", "8", "7", "6"]
    assert count(store) == 10


def test_records_with_a_verdict_are_exempt_from_limits(store: Store) -> None:
    records = put(store, [entry("judged", time=NOON - 99 * DAY), entry("other", time=NOON - 99 * DAY)])
    add_pictures(store, records)
    say(store, records[0])
    prune(store, Limits(max_rows=1, max_days=1, max_image_bytes=1), now=NOON)
    assert names(store) == ["judged"]
    assert find_image(store, records[0])


def test_records_with_a_verdict_do_not_count_towards_limits(store: Store) -> None:
    records = put(store, [entry(str(number)) for number in range(5)])
    add_pictures(store, records)
    for record in records[:3]:
        say(store, record)
    prune(store, Limits(max_rows=2, max_days=30, max_image_bytes=200), now=NOON)
    assert (count(store), count(store, images)) == (5, 5)


def test_verdict_during_deletion_keeps_its_decision(postgres: str) -> None:
    store = Store(make_database(postgres))
    (record,) = put(store, [entry(time=NOON - 99 * DAY)])
    pruning = threading.Thread(target=prune, args=(store, ROOMY), kwargs={"now": NOON})
    with store.begin_exclusive() as connection:
        connection.execute(insert(verdicts).values(record=record, verdict="glasses", reviewer="ann", time=1))
        pruning.start()
        wait_until(lambda: is_waiting(postgres, store, "advisory"))
    pruning.join(TIMEOUT)
    assert (count(store), count(store, verdicts)) == (1, 1)
    store.close()


def test_deletion_runs_in_portions(store: Store) -> None:
    write(store, [entry(time=NOON - 99 * DAY).row() for _ in range(5_010)], ())
    assert prune(store, ROOMY, now=NOON)
    assert count(store) == 10
    assert not prune(store, ROOMY, now=NOON)
    assert count(store) == 0


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda _: b"this is no database at all, and long enough to be seen as none" * 20, "not a database"),
        # SQLite itself would take the file for empty and overwrite it.
        (lambda _: b"4", "not a database"),
        (lambda data: data[:4096] + b"\xaa" * (len(data) - 4096), "malformed"),
        (lambda data: data[:6000], "malformed"),
    ],
    ids=["text", "a single byte", "overwritten", "truncated"],
)
def test_a_damaged_file_is_named_with_its_remedy(damage: Callable[[bytes], bytes], text: str, tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    store = Store(f"sqlite:///{path}")
    write(store, [entry().row()], ())
    store.close()
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(RecordsUnavailable, match=f"{text}: move the SQLite file of LENSGATE_RECORDS_URL away"):
            write(store, [entry().row()], ())
        assert path.read_bytes() == damaged
    for part in tmp_path.glob("records.db*"):
        part.rename(tmp_path / f"moved-{part.name}")
    write(store, [entry().row()], ())
    assert count(store) == 1
    store.close()


def test_database_of_a_later_release_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE lensgate_schema (version INTEGER)")
        connection.execute("INSERT INTO lensgate_schema VALUES (99)")
    connection.close()
    store = Store(f"sqlite:///{path}")
    with pytest.raises(RecordsUnavailable, match="version 99, which a later release wrote"):
        write(store, [entry().row()], ())
    store.close()


def test_a_statement_does_not_grow_with_the_rows_in_postgresql(postgres: str) -> None:
    """psycopg parses every placeholder in Python, which held the GIL for 0.2 ms a row."""
    store, lengths = Store(make_database(postgres)), list[int]()
    put(store, [entry()])

    @event.listens_for(store.engine, "before_cursor_execute")
    def watch(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith("INSERT INTO decisions"):
            lengths.append(len(statement))

    put(store, [entry()])
    put(store, [entry(f"face {number}") for number in range(500)])
    store.close()
    assert len(lengths) == 2
    assert lengths[0] == lengths[1]


def test_batches_of_any_length_share_the_statements_of_sqlite(tmp_path: Path) -> None:
    """A connection keeps 128 statements with their values, of a thousand rows if SQLAlchemy chooses the number."""
    store, lengths = Store(f"sqlite:///{tmp_path}/records.db"), set[int]()
    put(store, [entry()])

    @event.listens_for(store.engine, "before_cursor_execute")
    def watch(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith("INSERT INTO decisions"):
            lengths.add(len(statement))

    for count_ in range(1, 60):
        put(store, [entry(f"face {number}") for number in range(count_)])
    store.close()
    assert len(lengths) == 20


def test_only_new_rows_are_counted_and_kept_as_they_were(store: Store) -> None:
    put(store, first := [entry(f"face {number}") for number in range(3)])
    again = [replace(one, identity="changed") for one in first] + [entry("new", record=new_id())]
    assert write(store, [one.row() for one in again], ()) == 0
    assert sorted(names(store)) == ["face 0", "face 1", "face 2", "new"]
    with store.begin() as connection:
        assert connection.scalar(select(func.sum(outcomes.c.images))) == 4


@pytest.mark.parametrize("column", [column.name for column in decisions.columns if isinstance(column.type, String)])
def test_a_text_that_is_too_long_is_refused_and_never_cut(column: str, postgres: str) -> None:
    store = Store(make_database(postgres))
    long = {**entry("long", record=new_id()).row(), column: "x" * 400}
    assert write(store, [entry("one", record=new_id()).row(), long, entry("two", record=new_id()).row()], ()) == 1
    assert sorted(names(store)) == ["one", "two"]
    store.close()
