"""The JSON of `GET /v1/operations`: the state of the service. Unknown values are null."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gate import Label, Reason
from gate.card import CardClass, ReferenceHistogram
from service.metrics.snapshot import BINS, Bins, Distribution, Stage
from service.pages.history import Step


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class BandState(_Model):
    """The uncertainty band in use, and the certificate of the card if the band is the card's own."""

    low: float
    high: float
    chosen_by: Literal["paper", "certified", "operator"]
    target_risk: float | None = Field(description="Certified error share among all accepted images, if certified")
    confidence: float | None = Field(description="Confidence of each certificate by itself")
    folds: int | None = Field(description="Networks that scored the calibration images; 1: the served one alone")
    classes: dict[Label, CardClass] | None = Field(description="Certificate of each label; null on older cards")


class ModelState(_Model):
    """The served version."""

    name: str
    version: str
    sha256: str
    provider: str = Field(description="Execution provider of ONNX Runtime")
    since: float = Field(description="Start of serving in this process, seconds since 1970")
    band: BandState


class ShadowState(_Model):
    """The shadow version with its counts of images and disagreements since the start."""

    version: str
    scored: int
    dropped: int
    failed: int
    label_disagreements: int
    decision_disagreements: int


class HistoryState(_Model):
    """The last 15 minutes in steps, oldest first; lists of equal length."""

    times: list[float] = Field(description="Ends of the steps, seconds since 1970")
    seconds: list[float] = Field(description="Lengths of the steps")
    decisions: list[int]
    unfamiliar: list[int] = Field(description="Images discarded for this reason")
    uncertain: list[int] = Field(description="Images discarded for this reason")
    contradicted: list[int] = Field(description="Images discarded for this reason")
    shed: list[int] = Field(description="Requests not admitted")
    errors: list[int] = Field(description="Invalid images")


class ScoresState(_Model):
    """The latest scores of the served version, about 1,000, in bins of width 0.05."""

    counts: list[int]
    total: int
    reference: list[float] = Field(description="Shares of the card's reference scores in the same bins")


class DriftState(_Model):
    """Population stability index of each worker's last 1,000 scores; null below 200 scores."""

    psi: float | None
    limit: float | None = Field(description="Without drift one window in 1,000 exceeds it")


class StageState(_Model):
    """Quantiles in milliseconds, estimated from a histogram; null without values."""

    stage: Stage
    count: int
    p50: float | None
    p95: float | None
    p99: float | None


class LatencyState(_Model):
    """Latency of each stage in the last minute."""

    seconds: float = Field(description="Length of the window")
    stages: list[StageState]


class LoadState(_Model):
    """Current load and its limits."""

    queued_images: int
    inflight_images: int
    max_inflight_images: int
    inflight_bytes: int
    max_inflight_bytes: int
    batch_uploads: int


class RecordsState(_Model):
    """State of the recorder; counts since the start."""

    state: Literal["off", "ok", "failing"]
    queued: int
    written: int
    dropped: int


class FailedLoads(_Model):
    """Whether the latest change of a file could not be loaded in some worker, so that the previous one stays in use."""

    model: bool
    tokens: bool
    certificate: bool


class Links(_Model):
    """Addresses of other pages for the person on call, from the settings."""

    grafana: str | None
    runbooks: str | None = Field(description="An alert's section is at the fragment of its name in lower case")


class Operations(_Model):
    """The state of the service."""

    time: float = Field(description="Seconds since 1970")
    state: Literal["ready", "draining", "failed"]
    started: float = Field(description="Start of the process, seconds since 1970")
    decisions: int = Field(description="Decisions since the start")
    reject_ratio: float | None = Field(
        description="Share of discarded images in each worker's last 1,000 of the served version; null without any"
    )
    model: ModelState
    shadow: ShadowState | None
    history: HistoryState
    scores: ScoresState
    drift: DriftState
    latency: LatencyState
    load: LoadState
    records: RecordsState
    loads: FailedLoads
    links: Links


def show_history(steps: Iterable[Step]) -> HistoryState:
    """Convert steps to lists."""
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
    """Combine recent scores with those of the card."""
    return ScoresState(counts=list(counts), total=sum(counts), reference=list(reference))


def show_stage(stage: Stage, seconds: Distribution) -> StageState:
    """Compute the quantiles of one stage."""
    quantiles = {f"p{share:.0f}": _milliseconds(seconds.quantile(share / 100)) for share in (50, 95, 99)}
    return StageState.model_validate({"stage": stage, "count": seconds.count, **quantiles})


def rebin(reference: ReferenceHistogram) -> list[float]:
    """Convert a card's histogram to shares in `BINS` equal bins, assuming uniform scores within its own bins."""
    cumulative = np.concatenate([[0.0], np.cumsum(reference.counts)]) / sum(reference.counts)
    shares = np.diff(np.interp(np.linspace(0, 1, BINS + 1), reference.edges, cumulative))
    return [round(float(share), 6) for share in shares]


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
