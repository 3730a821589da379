"""One decision with its metadata, as stored."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gate import Action, Band, Card, Decision, Label
from gate.scorer import Score
from service.ids import new_id
from service.records.audit_draws import Draw
from service.records.tables import storable_text


@dataclass(slots=True, kw_only=True)
class DecisionRecord:
    """A decision and its metadata.

    `identity` and `source` are the caller's names of the image and its generator, if any; `latency` is in seconds from
    the request line, and `stages` holds the milliseconds of its stages, of all its images together. `taken` is the time
    by the monotonic clock. `is_processed` says that the preview worker has finished; `sha256` is final then.
    """

    identity: str | None
    score: Score
    decision: Decision
    expected: Label | None
    band: Band
    card: Card
    latency: float
    draw: Draw | None = None
    source: str | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    record: str = field(default_factory=new_id)
    taken: float = field(default_factory=time.monotonic)
    time: float = field(default_factory=time.time)
    sha256: str | None = None
    is_processed: bool = False
    is_written: bool = False

    @property
    def is_reviewable(self) -> bool:
        """Whether the image is part of the review."""
        return self.draw is not None or self.decision.action is Action.DISCARD

    def row(self) -> Mapping[str, Any]:
        """Return the columns of the table `decisions`."""
        return {
            "record": self.record,
            "id": storable_text(self.identity or self.record),
            "time": round(self.time * 1e6),
            "sha256": self.sha256,
            "probability": self.score.probability,
            "novelty": self.score.novelty,
            "label": self.decision.label.value,
            "decision": self.decision.action.value,
            "reason": self.decision.reason.value,
            "expected": self.expected and self.expected.value,
            "band_low": self.band.low,
            "band_high": self.band.high,
            "model": self.card.name,
            "version": self.card.version,
            "latency_ms": round(self.latency * 1000, 3),
            "audit": self.draw is not None,
            "draw": self.draw and self.draw.kind.value,
            "draw_probability": self.draw and self.draw.probability,
            "draw_weight": self.draw and self.draw.weight,
            "source": self.source and storable_text(self.source),
            "novelty_threshold": self.card.novelty_limit,
            **{f"{name}_ms": self.stages.get(name) for name in ("read", "queue", "decode", "inference")},
        }
