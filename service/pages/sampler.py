"""Looks at the service every few seconds, and shows it to whoever asks, at most once a second anew."""

import math
import time
from collections.abc import Callable
from typing import Literal, Self

from service.errors import NotReady
from service.metrics.snapshot import read_counts, read_stages, read_values
from service.pages.history import LATENCY_STEPS, History, RecentScores, Tick
from service.pages.snapshot import (
    BandState,
    DriftState,
    LatencyState,
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
from service.periodic import Repeated
from service.runtime import Runtime

STEP_SECONDS = 5.0
FRESH_SECONDS = 1.0
"""How long one answer is good for everybody."""

_GAUGES = ("lensgate_reject_ratio", "lensgate_score_drift_psi", "lensgate_score_drift_limit")
_SHADOW = ("lensgate_shadow_info", "lensgate_shadow_images_total", "lensgate_shadow_disagreements_total")
_RECORDS = ("lensgate_records_total",)


class Sampler(Repeated):
    """Samples for as long as its `async with` block lasts. Used from the event loop alone.

    Args:
        runtime: what is looked at.
        seconds: between two samples.
        clock: seconds that only go forward.
        wall: seconds since 1970.
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
        self._registry = runtime.metrics.registry
        self._clock = clock
        self._wall = wall
        self._started = wall()
        self._served: tuple[str, float] = (runtime.runner.card.sha256, self._started)
        self._history = History()
        self._scores = RecentScores()
        self._shown: tuple[float, bytes] = (-math.inf, b"")

    async def __aenter__(self) -> Self:
        self.sample()
        return await super().__aenter__()

    async def turn(self) -> None:
        """Sample."""
        self.sample()

    def sample(self) -> None:
        """Note where the counters stand."""
        self._note_version()
        tick = self._tick()
        self._history.add(tick, read_stages(self._registry))
        self._scores.add(tick.counts.scores, of=self._runtime.runner.card.sha256)

    def show(self) -> bytes:
        """The service at this moment as JSON; made anew at most once a second, however many ask."""
        made, body = self._shown
        if self._clock() - made >= FRESH_SECONDS:
            body = self.look().model_dump_json().encode()
            self._shown = (self._clock(), body)
        return body

    def look(self) -> Operations:
        """The service at this moment."""
        self._note_version()
        tick = self._tick()
        values = read_values(self._registry, (*_GAUGES, *_SHADOW, *_RECORDS))
        card = self._runtime.runner.card
        scores = self._scores.add(tick.counts.scores, of=card.sha256)
        return Operations(
            time=tick.time,
            state=self._state(),
            started=self._started,
            decisions=tick.counts.decisions,
            reject_ratio=_finite(values[("lensgate_reject_ratio",)]) if any(scores) else None,
            model=self._model(),
            shadow=_shadow(values),
            history=show_history(self._history.steps(tick)),
            scores=show_scores(scores, rebin(card.reference_histogram)),
            drift=DriftState(
                psi=_finite(values[("lensgate_score_drift_psi",)]),
                limit=_finite(values[("lensgate_score_drift_limit",)]),
            ),
            latency=self._latency(),
            load=self._load(),
            records=self._records(values),
        )

    def _note_version(self) -> None:
        served = self._runtime.runner.card.sha256
        if served != self._served[0]:
            self._served = (served, self._wall())

    def _tick(self) -> Tick:
        return Tick(self._wall(), self._clock(), read_counts(self._registry))

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
            ),
        )

    def _latency(self) -> LatencyState:
        stages = [show_stage(stage, buckets) for stage, buckets in self._history.latencies().items()]
        return LatencyState(seconds=self._step * LATENCY_STEPS, stages=stages)

    def _load(self) -> LoadState:
        runtime = self._runtime
        return LoadState(
            queued_images=runtime.pipeline.queued_images,
            inflight_images=runtime.admission.images,
            max_inflight_images=runtime.settings.max_inflight_images,
            inflight_bytes=runtime.admission.bytes,
            max_inflight_bytes=runtime.settings.max_inflight_bytes,
            batch_uploads=runtime.admission.streams,
        )

    def _records(self, values: dict[tuple[str, ...], float]) -> RecordsState:
        recorder = self._runtime.recorder
        if recorder is None:
            return RecordsState(state="off", queued=0, written=0, dropped=0)
        return RecordsState(
            state="failing" if recorder.is_failing else "ok",
            queued=recorder.queued,
            written=int(values[("lensgate_records_total", "written")]),
            dropped=int(values[("lensgate_records_total", "dropped")]),
        )


def _shadow(values: dict[tuple[str, ...], float]) -> ShadowState | None:
    version = next((name[2] for name in values if name[0] == "lensgate_shadow_info"), None)
    if version is None:
        return None
    images, other = "lensgate_shadow_images_total", "lensgate_shadow_disagreements_total"
    return ShadowState(
        version=version,
        scored=int(values[(images, "scored")]),
        dropped=int(values[(images, "dropped")]),
        failed=int(values[(images, "failed")]),
        label_disagreements=int(values[(other, "label")]),
        decision_disagreements=int(values[(other, "decision")]),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
