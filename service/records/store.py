"""The database that decisions are kept in: SQLite or PostgreSQL, and what is set of either."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, func, insert, make_url, select
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from service.errors import RecordsUnavailable, SettingsError
from service.records import sqlite
from service.records.tables import SCHEMA_VERSION, metadata, schema

log = logging.getLogger(__name__)

_KEY = "LENSGATE_RECORDS_URL"
_OPEN_SECONDS = 3.0
_ALONE = 0x1E256A7E  # Any number, the same in all processes.


class Store:
    """One database, connected to when it is first asked for; safe in threads.

    Args:
        url: `sqlite:///FILE`, relative to where the service was started, or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises:
        SettingsError: the URL is none of these, or the driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self.engine, self._give_up = _make_engine(_parse(url))
        self._lock = Lock()
        self._is_open = False

    def __str__(self) -> str:
        return self.engine.url.render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether there is one writer at a time."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction, committed at the end of the block. The tables are made where there are none.

        Raises:
            RecordsUnavailable: the database cannot be reached, read or written.
        """
        try:
            self._open()
            with self.engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            # It may come back as another, without tables.
            self._is_open = False
            raise RecordsUnavailable(f"the record of decisions does not answer: {_brief(error)}") from error

    @contextmanager
    def begin_alone(self) -> Iterator[Connection]:
        """The same for what reviewers say and for deletion, which wait for each other.

        So no verdict goes with a decision that is just being deleted.

        Raises:
            RecordsUnavailable: the database cannot be reached, read or written.
        """
        with self.begin() as connection:
            self._keep_out_others(connection)
            yield connection

    def close(self) -> None:
        """Give back all connections, and end what waits for an answer of PostgreSQL."""
        self._give_up()
        self.engine.dispose()

    def _open(self) -> None:
        if self._is_open:
            return
        # Many that wait for each other would each wait for a dead database.
        if not self._lock.acquire(timeout=_OPEN_SECONDS):
            raise RecordsUnavailable("the record of decisions does not answer: it is being opened")
        try:
            if not self._is_open:
                self._make_tables()
        finally:
            self._lock.release()

    def _make_tables(self) -> None:
        with self.engine.begin() as connection:
            self._keep_out_others(connection)
            metadata.create_all(connection)
            versions = set(connection.scalars(select(schema.c.version)))
            if not versions:
                connection.execute(insert(schema).values(version=SCHEMA_VERSION))
        if versions - {SCHEMA_VERSION}:
            raise RecordsUnavailable(f"{self} was written by another release: its schema is {max(versions)}")
        self._is_open = True
        log.info("decisions are kept in %s", self)

    def _keep_out_others(self, connection: Connection) -> None:
        if self.is_sqlite:
            # Python begins a transaction at the first row that is written, and so not for tables that are made.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(select(func.pg_advisory_xact_lock(_ALONE)))


def insert_into(connection: Connection, table: Table) -> Any:
    """An insert that can be told what to do about rows that are there already."""
    return (sqlite_dialect if connection.dialect.name == "sqlite" else postgresql_dialect).insert(table)


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise SettingsError(f"{_KEY}: {text!r} is no URL: sqlite:///FILE, postgresql://... or off") from error
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise SettingsError(f"{_KEY}: {url.drivername!r} is neither sqlite nor postgresql")
    if url.drivername == "sqlite" and not url.database:
        raise SettingsError(f"{_KEY}: sqlite:///FILE needs a file: what is in memory is no record")
    return url


def _make_engine(url: URL) -> tuple[Engine, Callable[[], None]]:
    if url.drivername == "sqlite":
        return sqlite.make_engine(url), lambda: None
    try:
        # An extra, and not for those who use SQLite.
        from service.records import postgres  # noqa: PLC0415

        return postgres.make_engine(url)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise SettingsError(f"{_KEY}: PostgreSQL needs its driver: pip install 'lensgate[postgres]'") from error


def _brief(error: SQLAlchemyError | OSError) -> str:
    return str(getattr(error, "orig", None) or error).strip().split("\n")[0]
