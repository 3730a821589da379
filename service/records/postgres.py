"""PostgreSQL connections with a timeout for servers that stop responding, also through a pooler and after a failover.

psycopg waits forever for a host that is gone. Its documented timeouts cover only the connection attempt and, with
`statement_timeout`, a server that still runs. The adapter overrides `Connection.wait`, through which psycopg runs every
exchange with the server; the method is undocumented, so pyproject.toml bounds the version.
"""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event

from service.errors import SettingsError

log = logging.getLogger(__name__)

CONNECT_SECONDS = 3
SILENT_SECONDS = 10.0
"""Timeout for a statement: a vanished host or a stopped server does not close the connection."""

MIGRATION_SECONDS = 600.0
"""Timeout for a statement of a migration, which may index a large table."""

_REMEDIES: tuple[tuple[type[psycopg.Error], str], ...] = (
    (
        errors.ReadOnlySqlTransaction,
        "this server is a standby, or set to read-only: LENSGATE_RECORDS_URL must lead to the primary, as "
        "postgresql://USER:PASSWORD@/NAME?host=HOST,HOST&target_session_attrs=read-write does after a failover too",
    ),
    (
        errors.InsufficientPrivilege,
        "the role of LENSGATE_RECORDS_URL must own its tables, and needs GRANT USAGE, CREATE ON SCHEMA or the database",
    ),
    (errors.UntranslatableCharacter, "the database must have the encoding UTF8"),
)


def check_options(url: URL) -> None:
    """Check the names of the options in the query of a URL.

    Raises:
        SettingsError: there is no such option.
    """
    try:
        make_conninfo(**dict.fromkeys(url.query, "1"))
    except psycopg.ProgrammingError as error:
        raise SettingsError(f"LENSGATE_RECORDS_URL: {str(error).strip()}") from error


def describe(error: psycopg.Error) -> str:
    """Return the first line of an error, with its usual remedy."""
    text = str(error).strip().partition("\n")[0]
    return ": ".join([text, *(remedy for kind, remedy in _REMEDIES if isinstance(error, kind))])


class _Connection(psycopg.Connection[Any]):
    """A connection that fails after a silence of the server, or once the engine is closed."""

    ended = threading.Event()
    seconds = SILENT_SECONDS

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
        """Run one exchange with the server; psycopg resumes the generator several times per second."""
        return super().wait(self._watch(gen), *arguments, **options)

    def _watch(self, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        deadline = time.monotonic() + self.seconds
        try:
            wanted = next(steps)
            while True:
                ready = yield wanted
                if ready:
                    deadline = time.monotonic() + self.seconds
                elif self.ended.is_set() or time.monotonic() > deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("the server does not respond")
                wanted = steps.send(ready)
        except StopIteration as end:
            return end.value


def make_engine(url: URL, *, seconds: float = SILENT_SECONDS) -> tuple[Engine, Callable[[], None]]:
    """Make an engine and a function that aborts all pending waits of its connections."""
    ended = [threading.Event()]
    engine = create_engine(
        url,
        # The locks of the store need it, and a database may have another default.
        isolation_level="READ COMMITTED",
        # Pooled connections may have been closed in the meantime.
        pool_pre_ping=True,
        pool_timeout=CONNECT_SECONDS,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            # Ids and sources are any text, whatever the encoding of the database.
            "client_encoding": "utf8",
            # Poolers such as PgBouncer give each transaction another session, which lacks what was prepared before.
            "prepare_threshold": None,
        },
    )

    @event.listens_for(engine, "do_connect")
    def connect(_: object, __: object, arguments: Any, options: Any) -> _Connection:
        connection = _Connection.connect(*arguments, **options)
        connection.ended, connection.seconds = ended[-1], seconds
        return connection

    event.listen(engine, "first_connect", _check_encoding)
    event.listen(engine, "handle_error", _leave_standby)

    def give_up() -> None:
        ended.append(threading.Event())
        ended.pop(0).set()

    return engine, give_up


@contextmanager
def longer_timeouts(connection: Connection) -> Iterator[None]:
    """Allow statements of up to `MIGRATION_SECONDS` within the block."""
    driver: Any = connection.connection.driver_connection
    usual = driver.seconds
    driver.seconds = MIGRATION_SECONDS
    try:
        yield
    finally:
        driver.seconds = usual


def _check_encoding(connection: Any, _: object) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8"):
        log.warning(
            "the database of LENSGATE_RECORDS_URL has the encoding %s and refuses decisions whose id or source it "
            "cannot hold: use one made by CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
            encoding,
        )


def _leave_standby(context: ExceptionContext) -> None:
    # The server may have become a standby: new connections may lead to the primary, pooled ones never do.
    if isinstance(context.original_exception, errors.ReadOnlySqlTransaction):
        context.is_disconnect = True
