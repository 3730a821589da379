"""PostgreSQL behind a pooler, after a failover, and with settings of other defaults."""

import logging
import time

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine, make_url, text

from service.errors import RecordsUnavailable
from service.metrics.records import RecordMetrics
from service.records.recorder import Buffering, Recorder
from service.records.retention import DAY, RetentionClock
from service.records.store import Store
from service.records.writer import Limits, write
from tests.support.servers import wait_until

from .conftest import make_database
from .stores import entry, names, put


def run(url: str, statement: str) -> None:
    """Run a statement as an administrator would; NAME is the database of the URL."""
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    engine = create_engine(parsed.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement.replace("NAME", str(parsed.database))))
    engine.dispose()


def test_connections_to_a_server_that_became_read_only_are_replaced(postgres: str) -> None:
    url = make_database(postgres)
    store = Store(url)
    put(store, [entry("before")])
    store.close()
    run(url, "ALTER DATABASE NAME SET default_transaction_read_only = on")
    assert names(store) == ["before"]
    with pytest.raises(RecordsUnavailable, match=r"read-only transaction: .* must lead to the primary"):
        put(store, [entry("lost")])
    run(url, "ALTER DATABASE NAME RESET default_transaction_read_only")
    put(store, [entry("after")])
    assert names(store) == ["after", "before"]
    store.close()


def test_transactions_are_read_committed_whatever_the_database_defaults_to(postgres: str) -> None:
    url = make_database(postgres)
    run(url, "ALTER DATABASE NAME SET default_transaction_isolation = 'serializable'")
    store = Store(url)
    with store.begin() as connection:
        assert connection.scalar(text("SHOW transaction_isolation")) == "read committed"
    store.close()


def test_no_statement_is_prepared_as_another_session_of_a_pooler_would_lack_it(postgres: str) -> None:
    store = Store(make_database(postgres))
    for _ in range(10):
        assert names(store) == []
    with store.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0
    store.close()


@pytest.mark.parametrize(("encoding", "kept"), [("UTF8", True), ("SQL_ASCII", True), ("LATIN1", False)])
def test_id_that_the_encoding_of_the_database_lacks_costs_only_its_record(
    postgres: str, caplog: pytest.LogCaptureFixture, encoding: str, kept: bool
) -> None:
    url = make_database(postgres)
    run(url, "DROP DATABASE NAME")
    run(url, f"CREATE DATABASE NAME ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    store = Store(url)
    with caplog.at_level(logging.WARNING):
        refused = write(store, [entry(name).row() for name in ("a", "日本", "é")], ())
    assert refused == int(not kept)
    assert set(names(store)) == {"a", "é"} | ({"日本"} if kept else set())
    assert (f"has the encoding {encoding}" in caplog.text) == (encoding != "UTF8")
    assert ("the database must have the encoding UTF8" in caplog.text) == (not kept)
    store.close()


def test_role_without_rights_is_told_which_it_needs(postgres: str) -> None:
    url = make_database(postgres)
    run(url, "CREATE ROLE NAME LOGIN")
    database = make_url(url).database
    store = Store(url.replace("//postgres@", f"//{database}@"))
    with pytest.raises(RecordsUnavailable, match=r"permission denied for schema public: .* GRANT USAGE, CREATE"):
        names(store)
    store.close()


def test_replica_whose_clock_is_days_slow_deletes_the_oldest_records_first(postgres: str) -> None:
    """The clock of the server tells which records are new."""
    store = Store(make_database(postgres))
    put(store, [entry(name, time=time.time()) for name in ("old", "new")])
    registry = CollectorRegistry()
    recorder = Recorder(
        store,
        RecordMetrics(registry),
        limits=Limits(1, 30, 10**9),
        max_pixels=10**7,
        buffering=Buffering(prune_seconds=0.0),
        retention=RetentionClock(30 * DAY, clock=lambda: time.time() - 3 * DAY),
    )
    recorder.start()
    wait_until(lambda: len(names(store)) == 1)
    assert names(store) == ["new"]
    recorder.close()
