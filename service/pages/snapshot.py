"""What `GET /v1/operations` answers: one look at the whole service. What is not known is null."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gate import Reason
from gate.card import ReferenceHistogram
from service.metrics.snapshot import BINS, Bins, Buckets
from service.pages.history import Step


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class BandState(_Part):
    """The band of uncertainty that decides, with the operator's changes, and what the card says of its own."""

    low: float
    high: float
    chosen_by: Literal["paper", "certified", "operator"]
    target_risk: float | None = Field(description="Promised share of wrong labels among the accepted, if certified")
    confidence: float | None = Field(description="With which that is promised")


class ModelState(_Part):
    """The version that is served."""

    name: str
    version: str
    sha256: str
    provider: str = Field(description="What runs it, as ONNX Runtime calls it")
    since: float = Field(description="When this process began to serve it, seconds since 1970")
    band: BandState


class ShadowState(_Part):
    """The version in the shadow, and how many images it was shown, and judged otherwise, since the start."""

    version: str
    scored: int
    dropped: int
    failed: int
    label_disagreements: int
    decision_disagreements: int


class HistoryState(_Part):
    """The last quarter of an hour in steps, the oldest first; lists of the same length."""

    times: list[float] = Field(description="Ends of the steps, seconds since 1970")
    seconds: list[float] = Field(description="Lengths of the steps")
    decisions: list[int]
    unfamiliar: list[int] = Field(description="Discarded for this reason; so are the next two")
    uncertain: list[int]
    contradicted: list[int]
    shed: list[int] = Field(description="Images that were not admitted")
    errors: list[int] = Field(description="Images that could not be judged")


class ScoresState(_Part):
    """Scores of the served version in bins of .05: some 1,000 at most, the latest."""

    counts: list[int]
    total: int
    reference: list[float] = Field(description="Shares of the card's reference scores in the same bins")


class DriftState(_Part):
    """Population stability index of the last 1,000 scores; null until there are enough."""

    psi: float | None
    limit: float | None = Field(description="What it passes once in 1,000 windows without any drift")


class StageState(_Part):
    """Quantiles in milliseconds, estimated from a histogram; null where nothing was timed."""

    stage: Literal["decode", "queue", "inference", "request"]
    count: int
    p50: float | None
    p95: float | None
    p99: float | None


class LatencyState(_Part):
    """Of the last minute."""

    seconds: float = Field(description="Length of the window")
    stages: list[StageState]


class LoadState(_Part):
    """What is in the house at this moment, and the most that may be."""

    queued_images: int
    inflight_images: int
    max_inflight_images: int
    inflight_bytes: int
    max_inflight_bytes: int
    batch_uploads: int


class RecordsState(_Part):
    """Whether decisions are written down; counts since the start."""

    state: Literal["off", "ok", "failing"]
    queued: int
    written: int
    dropped: int


class Operations(_Part):
    """One look at the service."""

    time: float = Field(description="Seconds since 1970")
    state: Literal["ready", "draining", "failed"]
    started: float = Field(description="When the process began, seconds since 1970")
    decisions: int = Field(description="All since the start")
    reject_ratio: float | None = Field(
        description="Share of discarded images among the last 1,000 of the served version; null before"
    )
    model: ModelState
    shadow: ShadowState | None
    history: HistoryState
    scores: ScoresState
    drift: DriftState
    latency: LatencyState
    load: LoadState
    records: RecordsState


def show_history(steps: Iterable[Step]) -> HistoryState:
    """Steps as lists."""
    steps = list(steps)
    pairs = [(step.before.counts, step.after.counts) for step in steps]

    def added(reason: Reason) -> list[int]:
        return [after.reasons[reason] - before.reasons[reason] for before, after in pairs]

    return HistoryState(
        times=[round(step.after.time, 3) for step in steps],
        seconds=[round(step.seconds, 3) for step in steps],
        decisions=[after.decisions - before.decisions for before, after in pairs],
        unfamiliar=added(Reason.UNFAMILIAR),
        uncertain=added(Reason.UNCERTAIN),
        contradicted=added(Reason.CONTRADICTED),
        shed=[after.shed - before.shed for before, after in pairs],
        errors=[after.errors - before.errors for before, after in pairs],
    )


def show_scores(counts: Bins, reference: Sequence[float]) -> ScoresState:
    """Recent scores beside the card's."""
    return ScoresState(counts=list(counts), total=sum(counts), reference=list(reference))


def show_stage(stage: str, buckets: Buckets) -> StageState:
    """The quantiles of one stage."""
    quantiles = {f"p{share:.0f}": _milliseconds(buckets.quantile(share / 100)) for share in (50, 95, 99)}
    return StageState.model_validate({"stage": stage, "count": buckets.count, **quantiles})


def rebin(reference: ReferenceHistogram) -> list[float]:
    """The shares of a card's histogram in `BINS` equal bins; scores are taken as even inside the card's own."""
    cumulative = np.concatenate([[0.0], np.cumsum(reference.counts)]) / sum(reference.counts)
    found = np.diff(np.interp(np.linspace(0, 1, BINS + 1), reference.edges, cumulative))
    return [round(float(share), 6) for share in found]


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
