"""Numbered migrations: each brings the tables of one schema version to the next.

A migration is SQL text, the same for SQLite and PostgreSQL. It does not use `tables.py`, whose definitions move on.
"""

import logging
from contextlib import AbstractContextManager, nullcontext

from sqlalchemy import Connection, insert, inspect, select, update

from service.errors import RecordsUnavailable
from service.records.tables import SCHEMA_VERSION, metadata, schema

log = logging.getLogger(__name__)

MIGRATIONS: dict[int, tuple[str, ...]] = {
    2: (
        "ALTER TABLE decisions ADD COLUMN source VARCHAR(128)",
        "CREATE INDEX decisions_sourced ON decisions (source, record) WHERE source IS NOT NULL",
    ),
    3: (
        "ALTER TABLE decisions ADD COLUMN draw VARCHAR(16)",
        "ALTER TABLE decisions ADD COLUMN draw_probability FLOAT",
        "ALTER TABLE decisions ADD COLUMN draw_weight FLOAT",
        "UPDATE decisions SET draw = 'uniform', draw_weight = 1 WHERE audit",
        "CREATE INDEX decisions_contradicted ON decisions (record) WHERE reason = 'contradicted'",
        "ALTER TABLE lost_audits ADD COLUMN weight FLOAT NOT NULL DEFAULT 0",
        "UPDATE lost_audits SET weight = images",
    ),
    # FLOAT is a double in both databases. New tables need no migration.
    4: tuple(
        f"ALTER TABLE decisions ADD COLUMN {name} FLOAT"
        for name in ("novelty_threshold", "read_ms", "queue_ms", "decode_ms", "inference_ms")
    ),
}
"""The statements that lead to each version from the one before."""


def prepare_schema(connection: Connection) -> None:
    """Create missing tables, or migrate the tables of an earlier release, in the caller's exclusive transaction.

    Raises:
        RecordsUnavailable: a later release wrote the database.
    """
    present = _find_version(connection)
    if present is not None and present > SCHEMA_VERSION:
        raise RecordsUnavailable(
            f"the records have schema version {present}, which a later release wrote, and this one knows versions up "
            f"to {SCHEMA_VERSION}: install that release, or set LENSGATE_RECORDS_URL to another database"
        )
    if present is not None:
        with _longer_timeouts(connection):
            _migrate(connection, present)
    metadata.create_all(connection)
    if present is None:
        connection.execute(insert(schema).values(version=SCHEMA_VERSION))


def _find_version(connection: Connection) -> int | None:
    if not inspect(connection).has_table(schema.name):
        return None
    return connection.scalar(select(schema.c.version))


def _migrate(connection: Connection, present: int) -> None:
    for version in range(present + 1, SCHEMA_VERSION + 1):
        for statement in MIGRATIONS[version]:
            connection.exec_driver_sql(statement)
        connection.execute(update(schema).values(version=version))
        log.info("the records were migrated to schema version %d", version)


def _longer_timeouts(connection: Connection) -> AbstractContextManager[None]:
    if connection.dialect.name == "sqlite":
        return nullcontext()
    # psycopg is an optional dependency.
    from service.records.postgres import longer_timeouts  # noqa: PLC0415

    return longer_timeouts(connection)
