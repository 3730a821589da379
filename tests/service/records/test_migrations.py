"""Databases of an earlier release, in SQLite and PostgreSQL."""

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select, text

from service.errors import RecordsUnavailable
from service.records import migrations
from service.records.store import Store
from service.records.tables import SCHEMA_VERSION, decisions, lost_audits, metadata, schema
from tests.support.servers import TIMEOUT

from .stores import entry, names, put

FIRST = Path(__file__).with_name("schema_1.sql")
OLD = (
    "INSERT INTO decisions (record, id, time, probability, label, decision, reason, band_low, band_high, model,"
    " version, latency_ms, audit) VALUES ('01ARZ3NDEKTSV4RRFFQ69G5FAV', 'old', 1, 0.9, 'glasses', 'accept',"
    " 'confident', 0.4, 0.6, 'glasses', '1', 12.0, false)"
)


@pytest.fixture
def old_url(store_url: str) -> str:
    """A database of schema version 1 with one decision."""
    store = Store(store_url)
    script = FIRST.read_text()
    if store.is_sqlite:
        script = script.replace("BYTEA", "BLOB").replace("FLOAT(53)", "FLOAT")
    with store.engine.begin() as connection:
        for statement in [*script.removesuffix(";\n").split(";\n"), OLD]:
            connection.execute(text(statement))
    store.close()
    return store_url


def describe(store: Store) -> dict[str, Any]:
    """Columns and indexes of all tables."""
    found: dict[str, Any] = {}
    with store.begin() as connection:
        for name in metadata.tables:
            seen = inspect(connection)
            columns = [(one["name"], str(one["type"]), one["nullable"]) for one in seen.get_columns(name)]
            found[name] = columns, {str(one["name"]): one["column_names"] for one in seen.get_indexes(name)}
    return found


def version_of(store: Store) -> int | None:
    """The stored version, without opening the store."""
    with store.engine.connect() as connection:
        return connection.scalar(select(schema.c.version))


def test_workers_that_start_together_migrate_an_old_database_once(old_url: str) -> None:
    stores = [Store(old_url) for _ in range(4)]
    start = threading.Barrier(4)
    found: list[list[str]] = []

    def work(store: Store) -> None:
        start.wait(TIMEOUT)
        found.append(names(store))

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert found == [["old"]] * 4
    put(stores[0], [entry("new")])
    assert names(stores[1]) == ["new", "old"]
    assert version_of(stores[2]) == SCHEMA_VERSION
    for store in stores:
        store.close()


def test_earlier_audit_images_are_uniform_draws_of_equal_weight(old_url: str) -> None:
    store = Store(old_url)
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE decisions SET audit = true"))
        connection.execute(text("INSERT INTO lost_audits VALUES ('1', 0.4, 0.6, 7)"))
    with store.begin() as connection:
        drawn = connection.execute(
            select(decisions.c.draw, decisions.c.draw_probability, decisions.c.draw_weight)
        ).one()
        assert tuple(drawn) == ("uniform", None, 1.0)
        assert connection.scalar(select(lost_audits.c.weight)) == 7
    store.close()


def test_a_migrated_database_has_the_tables_of_a_new_one(old_url: str) -> None:
    store = Store(old_url)
    migrated = describe(store)
    with store.engine.begin() as connection:
        metadata.drop_all(connection)
    store.close()
    again = Store(old_url)
    assert migrated == describe(again)
    again.close()


def test_a_migration_that_fails_leaves_the_database_as_it_was(old_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(old_url)
    broken = {**migrations.MIGRATIONS, SCHEMA_VERSION: (*migrations.MIGRATIONS[SCHEMA_VERSION], "SELECT nonsense")}
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "MIGRATIONS", broken)
        with pytest.raises(RecordsUnavailable, match="nonsense"):
            names(store)
    assert version_of(store) == 1
    assert names(store) == ["old"]
    assert version_of(store) == SCHEMA_VERSION
    store.close()
