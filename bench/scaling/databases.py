"""Measure databases with decisions as the service writes, counts and deletes them."""

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bench.scaling.measured import Database
from gate import Band, Card
from gate.scorer import Score
from service.records.decision_record import DecisionRecord
from service.records.store import Store
from service.records.writer import PRUNE_ROWS, Limits, prune, write
from service.settings import Settings
from tests.support.postgres import running_postgres

TURNS = 3
MIN_ROWS = 2 * (TURNS + 1)
_DAYS = 30.0
_UNBOUNDED = 2**60
_VERSION = (
    "SELECT 'SQLite ' || sqlite_version()",
    "SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1)",
)
_SIZE = (
    "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
    "SELECT pg_database_size(current_database())",
)


def sqlite(card: Card, *, rows: int) -> Database:
    """SQLite in a new file."""
    with tempfile.TemporaryDirectory() as folder:
        return measure(f"sqlite:///{folder}/records.db", card, rows=rows)


def postgres(card: Card, *, rows: int) -> Database | None:
    """Debian's PostgreSQL with its default settings except fsync, on a private socket; None if it is not installed."""
    if not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return None
    with running_postgres() as url:
        return measure(url, card, rows=rows)


def measure(url: str, card: Card, *, rows: int) -> Database:
    """Insert so many decisions of the model with this card into the empty database at `url`, then delete a few.

    Raises:
        RecordsUnavailable: the database refuses inserts.
    """
    store = Store(url)
    try:
        empty = int(_ask(store, _SIZE))
        inserts = [_seconds(partial(write, store, part, ())) / len(part) for part in _parts(card, rows)]
        grown = int(_ask(store, _SIZE)) - empty
        counts = [_prune(store, rows) for _ in range(TURNS)]
        part = min(PRUNE_ROWS, rows // (TURNS + 1))
        deletes = [_prune(store, rows - part * turn) for turn in range(1, TURNS + 1)]
        return Database(
            title=str(_ask(store, _VERSION)),
            rows=rows,
            row_bytes=grown / rows,
            # Use the settings of a full database.
            insert_ms=statistics.median(inserts[-max(TURNS, len(inserts) // 5) :]) * 1e3,
            count_seconds=statistics.median(counts),
            prune_rows=part,
            prune_seconds=statistics.median(deletes),
        )
    finally:
        store.close()


def _prune(store: Store, kept: int) -> float:
    limits = Limits(kept, _DAYS, _UNBOUNDED)
    return _seconds(lambda: prune(store, limits, now=time.time()))


def _parts(card: Card, rows: int) -> Iterator[list[Mapping[str, Any]]]:
    """Yield so many decisions, in parts of one transaction, all of them hashed."""
    rng = random.Random(1)
    band = Settings().band(card.band)
    for first in range(0, rows, PRUNE_ROWS):
        yield [_row(rng, card, band) for _ in range(first, min(rows, first + PRUNE_ROWS))]


def _row(rng: random.Random, card: Card, band: Band) -> Mapping[str, Any]:
    score = Score(round(rng.random(), 7), round(rng.uniform(-20.0, 2.0), 6))
    decision = card.decide(score.probability, score.novelty, band=band)
    entry = DecisionRecord(
        identity=None, score=score, decision=decision, expected=None, band=band, card=card, latency=rng.random()
    )
    entry.sha256 = rng.randbytes(32).hex()
    return entry.row()


def _ask(store: Store, statements: Sequence[str]) -> Any:
    """Return the single value of a statement for SQLite or PostgreSQL."""
    with store.begin() as connection:
        return connection.execute(text(statements[not store.is_sqlite])).scalar_one()


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
