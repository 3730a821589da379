"""Databases that go, hang, or come back as another."""

import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

import pytest
from sqlalchemy import event, make_url, select, text
from sqlalchemy.exc import OperationalError

from service.errors import NotFound, RecordsUnavailable, SettingsError
from service.records import postgres as connections
from service.records import sqlite as files
from service.records.preview_worker import Preview
from service.records.query import Page, find_image, find_one
from service.records.store import Store
from service.records.tables import decisions
from service.records.writer import write
from tests.support.servers import TIMEOUT, wait_until

from .conftest import make_database
from .stores import entry, is_waiting, names, put


def test_a_new_file_is_private_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "records.db"
    before = os.umask(0o022)
    try:
        for mode in (0o600, 0o640):
            store = Store(f"sqlite:///{path}")
            put(store, [entry("any")])
            assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {mode}
            store.close()
            path.chmod(0o640)
    finally:
        os.umask(before)


def test_a_file_that_was_deleted_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    store = Store(f"sqlite:///{path}")
    put(store, [entry("before")])
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(RecordsUnavailable, match="no such table"):
        names(store)
    put(store, [entry("after")])
    assert path.exists()
    assert names(store) == ["after"]
    store.close()


def back_up(path: Path, backup: Path) -> None:
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)


def test_a_log_that_was_deleted_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    store = _with_several_connections(path)
    put(store, [entry("before")])
    path.with_name("records.db-wal").unlink()
    assert names(store) == ["before"]
    put(store, [entry("after")])
    with closing(sqlite3.connect(path)) as other:  # As after a kill.
        assert sorted(other.execute("SELECT id FROM decisions")) == [("after",), ("before",)]
    store.close()


def test_a_log_that_stays_does_not_change_a_backup_in_place_of_its_file(tmp_path: Path) -> None:
    path, backup = tmp_path / "records.db", tmp_path / "backup.db"
    store = _with_several_connections(path)
    put(store, [entry("before")])
    back_up(path, backup)
    put(store, [entry("after")])
    backup.replace(path)
    assert names(store) == ["before"]
    store.close()


def test_what_another_process_writes_to_a_backup_in_place_of_the_file_stays(tmp_path: Path) -> None:
    path, backup = tmp_path / "records.db", tmp_path / "backup.db"
    first, second = _with_several_connections(path), _with_several_connections(path)
    put(first, [entry("before")])
    back_up(path, backup)
    put(second, [entry("after")])
    path.rename(tmp_path / "moved.db")
    backup.rename(path)
    put(first, [entry("new")])
    assert sorted(names(second)) == sorted(names(first)) == ["before", "new"]
    with closing(sqlite3.connect(tmp_path / "moved.db")) as moved:
        assert sorted(moved.execute("SELECT id FROM decisions")) == [("after",), ("before",)]
    first.close()
    second.close()


def test_a_connection_that_none_preceded_reads_no_log_of_a_replaced_file(tmp_path: Path) -> None:
    path, backup = tmp_path / "records.db", tmp_path / "backup.db"
    store = _with_several_connections(path)
    put(store, [entry("before")])
    back_up(path, backup)
    put(store, [entry("after")])
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(store.begin())  # Used, so that the next one is new.
        backup.replace(path)
        assert names(store) == ["before"]
    store.close()


def _with_several_connections(path: Path) -> Store:
    """Return a store with idle connections: SQLite saves and deletes the log when the last one is closed."""
    store = Store(f"sqlite:///{path}")
    assert names(store) == []
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(store.begin()).execute(text("SELECT * FROM decisions"))
    return store


def test_exhausted_connection_pool_is_reported_as_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setattr(files, "BUSY_SECONDS", 0.05)
    store = Store(f"sqlite:///{tmp_path / 'records.db'}")
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(store.begin())
            except RecordsUnavailable as error:
                assert error.detail == "the record store is busy, all connections to it are in use: try again"
                break
    assert names(store) == []
    assert caplog.text.count("records are stored in") == 1  # It is not opened again.
    store.close()


def test_readers_go_on_while_another_program_holds_the_write_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BUSY_SECONDS", 0.05)
    path = tmp_path / "records.db"
    store = Store(f"sqlite:///{path}")
    put(store, [entry("before")])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RecordsUnavailable, match="is locked: another program has locked"):
            put(store, [entry("during")])
        assert names(store) == ["before"]
    put(store, [entry("after")])
    assert names(store) == ["after", "before"]
    store.close()


def test_writer_tries_often_for_a_lock_that_another_leaves_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BUSY_SECONDS", 2)
    path = tmp_path / "records.db"
    store = Store(f"sqlite:///{path}")
    put(store, [entry("before")])
    attempts = 0
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        @event.listens_for(store.engine, "before_cursor_execute")
        def leave(*arguments: object) -> None:
            nonlocal attempts
            attempts += arguments[2] == "BEGIN IMMEDIATE"
            if attempts == 20 and other.in_transaction:
                other.execute("COMMIT")

        put(store, [entry("beside")])
        assert names(store) == ["beside", "before"]
    store.close()


def test_log_that_grew_during_a_long_read_shrinks_after_it(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    store = Store(f"sqlite:///{path}")
    records = put(store, [entry() for _ in range(30)])
    log = Path(f"{path}-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM decisions").fetchone()
        write(store, (), [Preview(record, bytes(2**20), "a" * 64) for record in records])
        assert log.stat().st_size > 30 * 2**20
    for _ in range(2):  # The first one copies the log into the file, the second one begins it anew.
        put(store, [entry()])
    assert log.stat().st_size <= 16 * 2**20
    store.close()


def test_log_is_emptied_although_readers_never_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOG_BYTES", 2**20)
    path = tmp_path / "records.db"
    (tmp_path / "link.db").symlink_to(path)
    store = Store(f"sqlite:///{tmp_path / 'link.db'}")
    records = put(store, [entry() for _ in range(4)])
    log, ended = Path(f"{path}-wal"), threading.Event()

    def read() -> None:
        with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(path)) as other:
            for reader, before in cycle([(one, other), (other, one)]):
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM decisions").fetchone()
                before.rollback()
                if ended.wait(0.005):
                    return

    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read)
        for record in records:
            write(store, (), [Preview(record, bytes(2**20), "a" * 64)])
        grown = log.stat().st_size
        store.shorten_log()
        shortened = log.stat().st_size
        ended.set()
    reading.result()
    assert (grown > 2**20, shortened) == (True, 0)
    assert all(find_image(store, record) == bytes(2**20) for record in records)
    store.close()


LARGE_SORT = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
SELECT hex(randomblob(100)) AS text FROM numbers ORDER BY text
"""


def test_large_sort_needs_no_folder_for_temporary_files(tmp_path: Path) -> None:
    """As in a container whose file systems are read-only."""
    store = Store(f"sqlite:///{tmp_path / 'records.db'}")
    with store.begin() as connection:
        connection.exec_driver_sql("PRAGMA cache_size=1").close()
        rows = connection.exec_driver_sql(LARGE_SORT)
        rows.fetchone()
        opened = [str(file.resolve()) for file in Path("/proc/self/fd").iterdir()]
        assert [name for name in opened if "etilqs_" in name] == []  # SQLite's name of a temporary file.
        rows.close()
    store.close()


def test_failing_store_is_announced_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    store = Store(f"sqlite:///{tmp_path / 'records.db'}")
    for _ in range(3):
        with pytest.raises(RecordsUnavailable), store.begin() as connection:
            connection.exec_driver_sql("SELECT * FROM missing")
    assert caplog.text.count("records are stored in") == 1
    store.close()


def test_file_that_cannot_be_opened_is_named_with_the_rights_it_needs(tmp_path: Path) -> None:
    (tmp_path / "records.db").mkdir()
    store = Store(f"sqlite:///{tmp_path / 'records.db'}")
    with pytest.raises(RecordsUnavailable, match=rf"unable to open .* user {os.geteuid()} must be able to write"):
        names(store)
    store.close()


def test_folder_that_cannot_be_created_makes_the_store_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Store(f"sqlite:///{tmp_path / 'file' / 'records.db'}")
    with pytest.raises(RecordsUnavailable, match="is unavailable"):
        names(store)
    store.close()


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_id_with_unstorable_characters_is_stored_with_replacements_and_found(store: Store, name: str) -> None:
    put(store, [entry(name)])
    assert names(store, id=name.replace("\ud800", "\0")) == ["a\ufffdb"]
    assert find_one(store, name)["id"] == "a\ufffdb"
    with pytest.raises(NotFound):
        find_image(store, name)


def test_record_takes_precedence_over_an_equal_id(store: Store) -> None:
    first = entry("first")
    put(store, [first])
    put(store, [entry(first.record)])
    assert find_one(store, first.record)["id"] == "first"


def test_silent_server_times_out(postgres: str) -> None:
    engine, _ = connections.make_engine(make_url(postgres).set(drivername="postgresql+psycopg"), seconds=0.2)
    with pytest.raises(OperationalError, match="does not respond"), engine.begin() as connection:
        connection.execute(text("SELECT pg_sleep(600)"))
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_closing_the_store_aborts_pending_statements(postgres: str) -> None:
    store = Store(make_database(postgres))
    put(store, [entry()])

    def hang() -> None:
        with pytest.raises(RecordsUnavailable, match="is unavailable"), store.begin() as connection:
            connection.execute(text("SELECT pg_sleep(600)"))

    thread = threading.Thread(target=hang)
    thread.start()
    wait_until(lambda: is_waiting(postgres, store, "PgSleep"))
    store.close()
    # Shorter than the timeout of the statement.
    thread.join(connections.SILENT_SECONDS / 2)
    assert not thread.is_alive()


def test_concurrent_first_writers_create_the_tables_once(store_url: str) -> None:
    stores = [Store(store_url) for _ in range(4)]
    start = threading.Barrier(4)
    done: list[int] = []

    def write(store: Store) -> None:
        start.wait(TIMEOUT)
        for _ in range(3):  # As the recorder does.
            try:
                put(store, [entry()])
            except RecordsUnavailable:
                continue
            done.append(1)
            return

    threads = [threading.Thread(target=write, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert len(done) == len(names(stores[0])) == 4
    for store in stores:
        store.close()


def test_time_filter_returns_exactly_the_decisions_of_the_window(store: Store) -> None:
    made = [entry(str(number)) for number in range(5)]
    now = datetime.now(UTC).timestamp()
    for number, one in enumerate(made):
        one.time = now + number
    put(store, made)
    moments = [datetime.fromtimestamp(one.time, UTC) for one in made]
    assert names(store, since=moments[1], until=moments[4]) == ["3", "2", "1"]
    assert names(store, since=datetime(1, 1, 1), until=datetime.max) == ["4", "3", "2", "1", "0"]
    assert names(store, until=datetime(1, 1, 1)) == []


def test_time_filter_uses_the_index(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'records.db'}")
    put(store, [entry()])
    conditions = Page(since=datetime.now(UTC), until=datetime.now(UTC)).conditions()
    query = select(decisions.c.id).where(*conditions).order_by(decisions.c.record.desc())
    with store.begin() as connection:
        statement = query.compile(connection, compile_kwargs={"literal_binds": True})
        plan = connection.execute(text(f"EXPLAIN QUERY PLAN {statement}")).all()
    (step,) = plan
    assert "(record>? AND record<?)" in step.detail
    store.close()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgres:user:secret@host/name", "^LENSGATE_RECORDS_URL is not a URL: use sqlite:///FILE"),
        ("postgresql://user:secret@one:5432,two:5432/name", "^LENSGATE_RECORDS_URL: the port is not a number; several"),
        ("postgresql://host/name?sslmod=require", 'invalid connection option "sslmod"'),
        ("postgresql://host/name?prepare_threshold=0", 'invalid connection option "prepare_threshold"'),
        ("mysql://host/name", "neither sqlite nor postgresql"),
        ("sqlite:///", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite://records.db", "three slashes"),
        ("sqlite://data/records.db", "three slashes"),
        ("sqlite:///records.db?mode=ro", r"takes no options: leave \?mode=\.\.\. out"),
    ],
)
def test_url_that_no_store_can_use_is_refused_without_its_password(url: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as refused:
        Store(url)
    assert "secret" not in str(refused.value)


def test_a_file_in_the_home_folder_is_found_where_no_shell_expands_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    store = Store("sqlite:///~/records.db")
    assert str(store) == "sqlite:////home/ann/records.db"
    store.close()


def test_store_is_named_without_its_passwords() -> None:
    store = Store("postgresql://user:secret@host/name?password=secret&sslpassword=secret&sslmode=require")
    assert str(store) == "postgresql+psycopg://user:***@host/name?sslmode=require"
    store.close()
