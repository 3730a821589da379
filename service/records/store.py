"""The database that decisions are kept in: SQLite or PostgreSQL, and what is set of either."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, make_url, select
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from service.errors import RecordsUnavailable, SettingsError
from service.records.tables import SCHEMA_VERSION, metadata, schema

log = logging.getLogger(__name__)

_KEY = "LENSGATE_RECORDS_URL"
_BUSY_SECONDS = 5


class Store:
    """One database, connected to when it is first asked for; safe in threads.

    Args:
        url: `sqlite:///FILE`, relative to where the service was started, or `postgresql://USER:PASSWORD@HOST/NAME`.

    Raises:
        SettingsError: the URL is none of these, or the driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self.engine = _make_engine(_parse(url))
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
        except SQLAlchemyError as error:
            raise RecordsUnavailable(f"the record of decisions does not answer: {_brief(error)}") from error

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()

    def _open(self) -> None:
        with self._lock:
            if self._is_open:
                return
            with self.engine.begin() as connection:
                metadata.create_all(connection)
                versions = set(connection.scalars(select(schema.c.version)))
                if not versions:
                    connection.execute(insert(schema).values(version=SCHEMA_VERSION))
            if versions - {SCHEMA_VERSION}:
                raise RecordsUnavailable(f"{self} was written by another release: its schema is {max(versions)}")
            self._is_open = True
            log.info("decisions are kept in %s", self)


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


def _make_engine(url: URL) -> Engine:
    if url.drivername == "sqlite":
        return _make_sqlite(url)
    try:
        # What waits in the pool may have been cut off meanwhile; a database that is gone says so within this time.
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": _BUSY_SECONDS})
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise SettingsError(f"{_KEY}: PostgreSQL needs its driver: pip install 'lensgate[postgres]'") from error


def _make_sqlite(url: URL) -> Engine:
    path = Path(str(url.database))
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "do_connect")
    def make_folder(*_: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        # Readers and the writer do not wait for each other; what is committed outlives the process, if not the power.
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine


def _brief(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip().split("\n")[0]
