"""Serialize one record as JSON and as a table row."""

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, FromClause, Row

from gate import Action, Label, Reason
from service.paths import DECISIONS
from service.records.audit_draws import DrawKind
from service.records.tables import Verdict, decisions, images, verdicts
from service.schemas import NOVELTY, PROBABILITY, BandAnswer, ModelAnswer

DAY_MICROSECONDS = 86_400 * 10**6
_FIRST_DAY = date(1970, 1, 1)


class StageTimes(BaseModel):
    """Milliseconds of the request's stages, of all its images together; null where unknown."""

    read: float | None
    queue: float | None
    decode: float | None
    inference: float | None


class Record(BaseModel):
    """A recorded decision. `record` is its ULID, `id` the caller's name of the image."""

    record: str
    id: str
    time: datetime
    sha256: str | None = Field(description="Of the file's bytes or the tensor; null if not computed, as under load")
    glasses_probability: float = Field(description=PROBABILITY)
    label: Label
    decision: Action
    reason: Reason
    novelty: float | None = Field(description=NOVELTY)
    expected: Label | None
    source: str | None
    band: BandAnswer
    novelty_threshold: float | None = Field(description="Above it an image is unfamiliar")
    model: ModelAnswer
    stages: StageTimes
    latency_ms: float = Field(description="From the request line to the decision")
    audit: bool = Field(description="Whether the image is in the audit sample")
    draw: DrawKind | None = Field(description="How it was drawn for the audit")
    draw_probability: float | None = Field(description="Probability of being drawn in any way")
    draw_weight: float | None = Field(description="Weight of its verdict in the audit's estimates")
    image: str | None = Field(description="Path of the preview; null if none is kept")
    verdict: Verdict | None


# The columns that `read_record` reads, and the tables that hold them, a row for each decision.
COLUMNS: tuple[ColumnElement[Any], ...] = (
    *decisions.c,
    images.c.bytes.label("image_bytes"),
    verdicts.c.verdict.label("verdict"),
)
RECORD_TABLES: FromClause = decisions.outerjoin(images, images.c.record == decisions.c.record).outerjoin(
    verdicts, verdicts.c.record == decisions.c.record
)


def read_record(row: Row[Any]) -> dict[str, Any]:
    """Convert a row of `COLUMNS` to the members of `Record`, ready for JSON."""
    return {
        "record": row.record,
        "id": row.id,
        "time": show_time(row.time),
        "sha256": row.sha256,
        "glasses_probability": row.probability,
        "label": row.label,
        "decision": row.decision,
        "reason": row.reason,
        "novelty": row.novelty,
        "expected": row.expected,
        "source": row.source,
        "band": {"low": row.band_low, "high": row.band_high},
        "model": {"name": row.model, "version": row.version},
        "novelty_threshold": row.novelty_threshold,
        "stages": {"read": row.read_ms, "queue": row.queue_ms, "decode": row.decode_ms, "inference": row.inference_ms},
        "latency_ms": row.latency_ms,
        "audit": row.audit,
        "draw": row.draw,
        "draw_probability": row.draw_probability,
        "draw_weight": row.draw_weight,
        "image": None if row.image_bytes is None else f"{DECISIONS}/{row.record}/image",
        "verdict": row.verdict,
    }


def show_time(microseconds: int) -> str:
    """Format a time by RFC 3339, in UTC with microseconds."""
    day, rest = divmod(microseconds, DAY_MICROSECONDS)
    second, fraction = divmod(rest, 10**6)
    return f"{show_day(day)}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{fraction:06}Z"


@lru_cache(maxsize=1024)
def show_day(number: int) -> str:
    """Format the day with this number since 1970-01-01."""
    return (_FIRST_DAY + timedelta(number)).isoformat()


def flatten(record: dict[str, Any]) -> list[Any]:
    """Return the cells of a record's row in a table, in the order of `FLAT_NAMES`."""
    cells: list[Any] = []
    for value in record.values():
        if type(value) is dict:  # Much faster than a test for any mapping, which counts in exports.
            cells += value.values()
        else:
            cells.append(value)
    return cells


FLAT_NAMES = (
    *("record", "id", "time", "sha256", "glasses_probability", "label", "decision", "reason", "novelty", "expected"),
    *("source", "band_low", "band_high", "model_name", "model_version", "novelty_threshold"),
    *("stages_read", "stages_queue", "stages_decode", "stages_inference", "latency_ms", "audit"),
    *("draw", "draw_probability", "draw_weight", "image", "verdict"),
)
"""The member names of a flattened record, in order."""
