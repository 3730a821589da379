"""Stores of both kinds, and decisions to put into them."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import create_engine, make_url, text

from gate import Action, Band, Decision, Label, Reason
from gate.scorer import Score
from service.ids import least_id, new_id
from service.records.decision_record import DecisionRecord
from service.records.query import Page, find_page
from service.records.store import Store
from service.records.writer import write
from tests.support.models import brightness_model

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()
CARD = brightness_model().card


def entry(identity: str = "face", *, discarded: bool = False, **changes: Any) -> DecisionRecord:
    """One decision at noon, confident unless it is `discarded`."""
    decision = Decision(
        Label.GLASSES,
        Action.DISCARD if discarded else Action.ACCEPT,
        Reason.UNCERTAIN if discarded else Reason.CONFIDENT,
    )
    made = DecisionRecord(
        identity=identity,
        score=Score(0.5 if discarded else 0.9, 0.1),
        decision=decision,
        expected=None,
        band=Band(),
        card=CARD,
        latency=0.012,
    )
    made.time = NOON
    made.sha256 = f"{random.getrandbits(256):064x}"
    return replace(made, **changes)


def put(store: Store, entries: Sequence[DecisionRecord]) -> list[str]:
    """Write them; their records, in order, which is that of their time."""
    for one in entries:
        one.record = new_id()
    records = sorted(one.record for one in entries)
    for one, record in zip(entries, records, strict=True):
        one.record = record
    assert write(store, [one.row() for one in entries], ()) == 0
    return records


def made_at(seconds: float) -> str:
    """A ULID that was made at this time, in seconds since 1970."""
    return least_id(round(seconds * 1000))[:10] + new_id()[10:]


def names(store: Store, **filters: Any) -> list[str]:
    """The ids of the decisions that are found, the newest first."""
    found, _ = find_page(store, Page(**filters))
    return [record["id"] for record in found]


def is_waiting(server: str, store: Store, event: str) -> bool:
    """Whether a connection to the store's database waits for this."""
    engine = create_engine(make_url(server).set(drivername="postgresql+psycopg"))
    activity = "SELECT count(*) FROM pg_stat_activity WHERE datname = :name AND wait_event = :event"
    with engine.connect() as connection:
        found = connection.scalar(text(activity), {"name": store.engine.url.database, "event": event})
    engine.dispose()
    return bool(found)
