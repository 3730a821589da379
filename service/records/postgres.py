"""PostgreSQL connections with a timeout for servers that stop responding.

psycopg waits forever for a host that is gone. Its documented timeouts cover only the connection attempt and, with
`statement_timeout`, a server that still runs. The adapter overrides `Connection.wait`, through which psycopg runs every
exchange with the server; the method is undocumented, so pyproject.toml bounds the version.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event

CONNECT_SECONDS = 3
SILENT_SECONDS = 10.0
"""Timeout for a statement: a vanished host or a stopped server does not close the connection."""

MIGRATION_SECONDS = 600.0
"""Timeout for a statement of a migration, which may index a large table."""


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
        # Pooled connections may have been closed in the meantime.
        pool_pre_ping=True,
        pool_timeout=CONNECT_SECONDS,
        connect_args={"connect_timeout": CONNECT_SECONDS},
    )

    @event.listens_for(engine, "do_connect")
    def connect(_: object, __: object, arguments: Any, options: Any) -> _Connection:
        connection = _Connection.connect(*arguments, **options)
        connection.ended, connection.seconds = ended[-1], seconds
        return connection

    def give_up() -> None:
        ended.append(threading.Event())
        ended.pop(0).set()

    return engine, give_up


@contextmanager
def patience(connection: Connection, seconds: float = MIGRATION_SECONDS) -> Iterator[None]:
    """Allow statements of up to `seconds` within the block."""
    driver: Any = connection.connection.driver_connection
    usual = driver.seconds
    driver.seconds = seconds
    try:
        yield
    finally:
        driver.seconds = usual
