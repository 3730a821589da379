"""Samples the service every few seconds and serves a snapshot that is at most one second old."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Literal, Self

from service.concurrency.periodic import Repeated
from service.errors import NotReady
from service.metrics.reading import Reading
from service.metrics.snapshot import Counts, LoadCounts, RecordCounts, ShadowCounts
from service.metrics.totals import read_counts, read_snapshot, read_stages
from service.pages.history import LATENCY_STEPS, History, RecentScores, Tick
from service.pages.snapshot import (
    BandState,
    DriftState,
    FailedLoads,
    LatencyState,
    Links,
    LoadState,
    ModelState,
    Operations,
    RecordsState,
    ShadowState,
    rebin,
    show_history,
    show_scores,
    show_stage,
)
from service.runtime import Runtime

STEP_SECONDS = 5.0
FRESH_SECONDS = 1.0
"""Minimum age of a snapshot before it is taken again; all requests in between share it."""


class Sampler(Repeated):
    """Samples while its `async with` block lasts. Use from the event loop only.

    Args:
        runtime: the service to sample.
        seconds: interval between two samples.
        clock: monotonic clock in seconds.
        wall: clock in seconds since 1970.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        seconds: float = STEP_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(seconds=seconds, fault="the metrics could not be sampled")
        self._runtime = runtime
        self._step = seconds
        self._clock = clock
        self._wall = wall
        self._started = wall()
        self._served: tuple[str, float] = (runtime.runner.card.sha256, self._started)
        self._history = History()
        self._scores = RecentScores()
        self._shown: tuple[float, bytes] = (-math.inf, b"")

    async def __aenter__(self) -> Self:
        await self.turn()
        return await super().__aenter__()

    async def turn(self) -> None:
        """Sample."""
        self.sample(await self._runtime.metrics_of_all.all(ask=False))

    def sample(self, reading: Reading) -> None:
        """Add the counters to the history."""
        self._note_version()
        tick = self._tick(read_counts(reading))
        self._history.add(tick, read_stages(reading))
        self._scores.add(tick.counts.scores, model=self._runtime.runner.card.sha256)

    async def show(self) -> bytes:
        """Return the current state of all workers as JSON, computed at most once per second for all callers."""
        taken, body = self._shown
        if self._clock() - taken >= FRESH_SECONDS:
            reading = await self._runtime.metrics_of_all.all(ask=True)
            body = self.look(reading).model_dump_json().encode()
            self._shown = (self._clock(), body)
        return body

    def look(self, reading: Reading) -> Operations:
        """Compute the current state."""
        self._note_version()
        metrics = read_snapshot(reading)
        tick = self._tick(metrics.counts)
        card = self._runtime.runner.card
        settings = self._runtime.settings
        scores = self._scores.add(tick.counts.scores, model=card.sha256)
        return Operations(
            time=tick.time,
            state=self._state(),
            started=self._started,
            decisions=tick.counts.decisions,
            reject_ratio=metrics.reject_ratio if any(scores) else None,
            model=self._model(),
            shadow=_shadow(metrics.shadow),
            history=show_history(self._history.steps(tick)),
            scores=show_scores(scores, rebin(card.reference_histogram)),
            drift=DriftState(psi=metrics.drift.psi, limit=metrics.drift.limit),
            latency=self._latency(),
            load=self._load(metrics.load),
            records=self._records(metrics.records),
            loads=_failed_loads(reading),
            links=Links(grafana=settings.grafana_url, runbooks=settings.runbooks_url),
        )

    def _note_version(self) -> None:
        served = self._runtime.runner.card.sha256
        if served != self._served[0]:
            self._served = (served, self._wall())

    def _tick(self, counts: Counts) -> Tick:
        return Tick(self._wall(), self._clock(), counts)

    def _state(self) -> Literal["ready", "draining", "failed"]:
        try:
            self._runtime.check_alive()
        except NotReady:
            return "failed"
        return "draining" if self._runtime.admission.is_draining else "ready"

    def _model(self) -> ModelState:
        runner = self._runtime.runner
        card, band = runner.card, runner.band
        own = card.band.is_kept_by(band)
        return ModelState(
            name=card.name,
            version=card.version,
            sha256=card.sha256,
            provider=runner.provider,
            since=self._served[1],
            band=BandState(
                low=band.low,
                high=band.high,
                chosen_by=card.band.chosen_by if own else "operator",
                target_risk=card.band.target_risk if own else None,
                confidence=card.band.confidence if own else None,
                folds=card.band.folds if own else None,
                classes=card.band.classes if own else None,
            ),
        )

    def _latency(self) -> LatencyState:
        stages = [show_stage(stage, seconds) for stage, seconds in self._history.latencies().items()]
        return LatencyState(seconds=self._step * LATENCY_STEPS, stages=stages)

    def _load(self, load: LoadCounts) -> LoadState:
        settings = self._runtime.settings
        return LoadState(
            queued_images=load.queued_images,
            inflight_images=load.inflight_images,
            max_inflight_images=settings.max_inflight_images,
            inflight_bytes=load.inflight_bytes,
            max_inflight_bytes=settings.max_inflight_bytes,
            batch_uploads=load.batch_uploads,
        )

    def _records(self, counts: RecordCounts) -> RecordsState:
        if self._runtime.store is None:
            return RecordsState(state="off", queued=0, written=0, dropped=0)
        return RecordsState(
            state="failing" if counts.is_failing else "ok",
            queued=counts.queued,
            written=counts.written,
            dropped=counts.dropped,
        )


def _shadow(counts: ShadowCounts | None) -> ShadowState | None:
    return None if counts is None else ShadowState.model_validate(asdict(counts))


def _failed_loads(reading: Reading) -> FailedLoads:
    names = ("model", "tokens", "certificate")
    return FailedLoads(**{name: reading.total(f"lensgate_{name}_load_failed") > 0 for name in names})
