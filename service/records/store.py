"""The database of the records: SQLite or PostgreSQL."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

from sqlalchemy import ARRAY, URL, Connection, Engine, String, Table, Text, bindparam, func, make_url, select
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.types import TypeEngine

from common.environment import expand_home
from gate.extras import how_to_install
from service.errors import NotFound, RecordsUnavailable, SettingsError
from service.records import sqlite
from service.records.migrations import prepare_schema

log = logging.getLogger(__name__)

_KEY = "LENSGATE_RECORDS_URL"
_OPEN_SECONDS = 3.0

READERS = 8
"""Requests that use a store at a time. The pool has 15 connections; the recorder and computations need the others."""
_LOCK_KEY = 0x1E256A7E  # Key of the advisory lock: any number, equal in all processes.


class Store:
    """One database, opened on first use. Thread-safe.

    Args:
        url: `sqlite:///FILE`, relative to the working directory, or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises:
        SettingsError: the URL is invalid, or the driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self.engine, self._give_up, self._describe = _make_engine(_parse(url))
        self._lock = Lock()
        self._is_open = self._is_announced = False

    def __str__(self) -> str:
        url = self.engine.url.difference_update_query(["password", "sslpassword"])
        return url.render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite, which allows one writer at a time."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction, committed at the end of the block. Missing tables are created, old ones migrated.

        Raises:
            RecordsUnavailable: the database is unreachable, unreadable or not writable.
        """
        try:
            self._open()
            with self.engine.begin() as connection:
                yield connection
        except NoConnection as error:
            raise RecordsUnavailable("the record store is busy, all connections to it are in use: try again") from error
        except (SQLAlchemyError, OSError) as error:
            if not sqlite.is_locked(getattr(error, "orig", None) or error):
                # The next database at this URL may have no tables.
                self._is_open = False
            raise RecordsUnavailable(f"the record store is unavailable: {self._brief(error)}") from error

    @contextmanager
    def begin_writing(self) -> Iterator[Connection]:
        """Open a transaction that begins with a write; one of SQLite waits here for its turn.

        Raises:
            RecordsUnavailable: the database is unreachable, unreadable or not writable.
        """
        with self.begin() as connection:
            if self.is_sqlite:
                sqlite.begin_immediate(connection)
            yield connection

    @contextmanager
    def begin_exclusive(self) -> Iterator[Connection]:
        """Open an exclusive transaction, for the review and for deletions.

        A verdict cannot disappear with a decision that is being deleted meanwhile.

        Raises:
            RecordsUnavailable: the database is unreachable, unreadable or not writable.
        """
        with self.begin() as connection:
            self._exclude_others(connection)
            yield connection

    def shorten_log(self) -> None:
        """Bound the log that SQLite keeps beside its file; PostgreSQL does so itself.

        Raises:
            RecordsUnavailable: the database is unreachable, unreadable or not writable.
        """
        if self.is_sqlite:
            with self.begin() as connection:
                sqlite.shorten_log(connection)

    def close(self) -> None:
        """Close all connections and abort pending waits for PostgreSQL."""
        self._give_up()
        self.engine.dispose()

    def _brief(self, error: SQLAlchemyError | OSError) -> str:
        cause = getattr(error, "orig", None)
        return (str(error) if cause is None else self._describe(cause)).strip().split("\n")[0]

    def _open(self) -> None:
        if self._is_open:
            return
        # Without a timeout, callers would queue up and each wait for a dead database.
        if not self._lock.acquire(timeout=_OPEN_SECONDS):
            raise RecordsUnavailable("the record store is unavailable: it is being opened")
        try:
            if not self._is_open:
                self._make_tables()
        finally:
            self._lock.release()

    def _make_tables(self) -> None:
        with self.engine.begin() as connection:
            self._exclude_others(connection)
            prepare_schema(connection)
        self._is_open = True
        # A full disk lets it be opened, and no more, at every attempt.
        log.log(logging.DEBUG if self._is_announced else logging.INFO, "records are stored in %s", self)
        self._is_announced = True

    def _exclude_others(self, connection: Connection) -> None:
        if self.is_sqlite:
            sqlite.begin_immediate(connection)
        else:
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK_KEY)))


def require_store(store: Store | None) -> Store:
    """Return the store.

    Raises:
        NotFound: records are off.
    """
    if store is None:
        raise NotFound("records are off: set LENSGATE_RECORDS_URL and restart")
    return store


def insert_into(connection: Connection, table: Table) -> sqlite_dialect.Insert | postgresql_dialect.Insert:
    """Make an INSERT that supports ON CONFLICT."""
    return sqlite_dialect.insert(table) if connection.dialect.name == "sqlite" else postgresql_dialect.insert(table)


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> set[Any]:
    """Insert the rows whose primary key is new, and return their keys; a missing column is NULL."""
    (key,) = table.primary_key.columns
    new = insert_into(connection, table)
    if connection.dialect.name == "sqlite":
        return set(connection.scalars(new.on_conflict_do_nothing().returning(key), list(rows)))
    # One array for each column: of one placeholder for each value psycopg parses every one, in Python, 0.2 ms a row.
    # Text is not cast to VARCHAR(n), which would cut longer values silently.
    arrays = [
        bindparam(column.name, [row.get(column.name) for row in rows], type_=ARRAY(_array_item(column.type)))
        for column in table.columns
    ]
    new_rows = func.unnest(*arrays).table_valued(*(column.name for column in table.columns)).render_derived()
    return set(
        connection.scalars(
            new.from_select([column.name for column in table.columns], select(*new_rows.columns))
            .on_conflict_do_nothing()
            .returning(key)
        )
    )


def _array_item(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    return Text() if isinstance(kind, String) else kind


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
    except ArgumentError as error:
        # The text may hold a password.
        raise SettingsError(f"{_KEY} is not a URL: use sqlite:///FILE, postgresql://... or off") from error
    except ValueError as error:
        raise SettingsError(
            f"{_KEY}: the port is not a number; several servers are postgresql://USER:PASSWORD@/NAME?host=HOST,HOST"
            "&port=PORT,PORT"
        ) from error
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise SettingsError(f"{_KEY}: {url.drivername!r} is neither sqlite nor postgresql")
    return _sqlite(url) if url.drivername == "sqlite" else url


def _sqlite(url: URL) -> URL:
    if url.host or url.port or url.username:
        raise SettingsError(f"{_KEY}: sqlite:///FILE has three slashes, and four before an absolute path")
    if not url.database or url.database == ":memory:":
        raise SettingsError(f"{_KEY}: sqlite:///FILE needs a file: an in-memory database is not durable")
    if url.query:
        raise SettingsError(f"{_KEY}: sqlite:///FILE takes no options: leave ?{next(iter(url.query))}=... out")
    return url.set(database=expand_home(url.database))


def _make_engine(url: URL) -> tuple[Engine, Callable[[], None], Callable[[Any], str]]:
    """Return the engine, a function that aborts its pending waits, and one that describes an error of the driver."""
    if url.drivername == "sqlite":
        return sqlite.make_engine(url), lambda: None, sqlite.describe
    try:
        # psycopg is an optional dependency.
        from service.records import postgres  # noqa: PLC0415

        postgres.check_options(url)
        return *postgres.make_engine(url), postgres.describe
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise SettingsError(f"{_KEY}: PostgreSQL needs its driver: {how_to_install('postgres')}") from error
