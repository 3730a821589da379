"""Decisions to review, written straight into a store."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import insert

from service.ids import new_id
from service.records.store import Store
from service.records.tables import decisions, images
from tests.support.images import encode, flat

NOW = 1_800_000_000
"""Seconds since 1970 at which everything was decided."""

JPEG = encode(flat(127, 16), "JPEG")


def decision(record: str | None = None, **changes: Any) -> dict[str, Any]:
    """A row of the table `decisions`: one that was discarded as uncertain."""
    record = record or new_id()
    return {
        "record": record,
        "id": f"face-{record}",
        "time": NOW * 10**6,
        "sha256": "0" * 63 + "1",
        "probability": 0.51,
        "novelty": None,
        "label": "glasses",
        "decision": "discard",
        "reason": "uncertain",
        "expected": None,
        "band_low": 0.4,
        "band_high": 0.6,
        "model": "glasses",
        "version": "1",
        "latency_ms": 20.0,
        "audit": False,
        "draw": None,
        "draw_probability": None,
        "draw_weight": None,
        **changes,
    }


def audited(record: str | None = None, **changes: Any) -> dict[str, Any]:
    """One that was accepted, and drawn for the audit; it is not read again if the first reader agrees."""
    record = record or f"{new_id()[:-2]}ZZ"
    drawn = {"audit": True, "draw": "uniform", "draw_probability": 0.001, "draw_weight": 1.0}
    return decision(record, **{"decision": "accept", "reason": "confident", "probability": 0.98} | drawn | changes)


def fill(store: Store, rows: Iterable[dict[str, Any]], *, jpeg: bytes | None = JPEG) -> list[str]:
    """Write decisions, with a picture each unless there is none; returns their records in order."""
    rows = list(rows)
    with store.begin() as connection:
        connection.execute(insert(decisions), rows)
        if jpeg is not None:
            pictures = [{"record": row["record"], "bytes": len(jpeg), "jpeg": jpeg} for row in rows]
            connection.execute(insert(images), pictures)
    return sorted(row["record"] for row in rows)
