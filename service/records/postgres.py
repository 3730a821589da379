"""Connections to PostgreSQL that do not wait for ever for a server that says nothing more."""

import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import psycopg
from sqlalchemy import URL, Engine, create_engine, event

CONNECT_SECONDS = 3
SILENT_SECONDS = 10.0
"""How long a statement may take: a host that is gone, or a server that is stopped, ends no connection by itself."""


class _Connection(psycopg.Connection[Any]):
    """One that is given up when its server is silent for too long, or when nobody needs it any more."""

    ended = threading.Event()
    seconds = SILENT_SECONDS

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
        """Run what asks the server and is asked again some times a second."""
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
                    raise psycopg.OperationalError("the server does not answer")
                wanted = steps.send(ready)
        except StopIteration as end:
            return end.value


def make_engine(url: URL, *, seconds: float = SILENT_SECONDS) -> tuple[Engine, Callable[[], None]]:
    """An engine, and what gives up all that its connections wait for."""
    ended = [threading.Event()]
    engine = create_engine(
        url,
        # What waits in the pool may have been cut off meanwhile.
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
