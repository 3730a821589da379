"""The parts of a running service, built once and passed to the endpoints."""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry

from common.thread_limit import explained_thread_limit
from gate import DecodeBudget
from gate.cores import usable_cores
from service.errors import Draining
from service.http.connections import most_connections
from service.http.failed_request import FailedRequest
from service.inference.admission import Admission
from service.inference.decode_pool import DecodePool
from service.inference.model_runner import LoadedModel, ModelRunner
from service.inference.observers import DecisionObserver
from service.inference.pipeline import Pipeline
from service.inference.shadow import Shadow
from service.metrics.decisions import Metrics
from service.metrics.gathering import Gathering
from service.observers import CountDecisions, RecordDecisions
from service.place import ALONE, Place
from service.records.differences import Differences
from service.records.recorder import Recorder
from service.records.store import Store
from service.records.writer import Limits
from service.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Holds the parts, and starts and closes those that own threads.

    Enter it with `async with` for as long as the service runs.
    """

    settings: Settings
    metrics: Metrics
    admission: Admission
    budget: DecodeBudget
    decode_pool: DecodePool
    pipeline: Pipeline
    shadow: Shadow | None
    recorder: Recorder | None
    place: Place
    metrics_of_all: Gathering

    @property
    def runner(self) -> ModelRunner:
        """The version that is served now."""
        return self.pipeline.runner

    @property
    def store(self) -> Store | None:
        """The store of decisions; None if they are not recorded."""
        return self.recorder.store if self.recorder else None

    def note_failure(self, failed: FailedRequest) -> None:
        """Record a failed request, if decisions are recorded."""
        if self.recorder is not None:
            self.recorder.failures.observe(failed)

    @property
    def connections(self) -> int:
        """The maximum number of connections of each port of this process."""
        ports = 1 + sum(port is not None for port in (self.settings.metrics_port, self.settings.grpc_port))
        return most_connections(self.place.share(self.settings.max_connections), ports=ports)

    def check_alive(self) -> None:
        """Raise NotReady if only a restart helps."""
        self.pipeline.check_alive()

    def check_ready(self) -> None:
        """Raise NotReady, or Draining, if requests should go to another replica."""
        self.check_alive()
        if self.admission.is_draining:
            raise Draining("the service is shutting down")

    def drain(self) -> None:
        """Admit no further requests; those admitted are finished."""
        self.admission.drain()

    def start(self) -> None:
        """Start the threads."""
        with explained_thread_limit():
            self.pipeline.start()
            for part in (self.shadow, self.recorder):
                if part is not None:
                    part.start()

    async def close(self) -> None:
        """Drain and end the threads. The event loop stays free, so that probes are answered meanwhile."""
        self.drain()
        await self.pipeline.close()
        for part in (self.shadow, self.recorder):
            if part is not None:
                await asyncio.to_thread(part.close)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def build_runtime(
    settings: Settings,
    loaded: LoadedModel,
    *,
    shadow: LoadedModel | None = None,
    registry: CollectorRegistry | None = None,
    place: Place = ALONE,
) -> Runtime:
    """Build the parts of one process; no thread is started.

    Args:
        settings: of the service; its limits are those of all workers, and this one keeps its share.
        loaded: the model to serve.
        shadow: the shadow version, if there is one.
        registry: receives the metrics; by default a registry of their own.
        place: of this process among the workers.

    Raises:
        SettingsError: the settings do not name a usable store of decisions, or a band that does not fit a card.
    """
    store = None if settings.records_url == "off" else Store(settings.records_url)
    metrics = Metrics(registry or CollectorRegistry())
    metrics.sources.expect(settings.listed_sources)
    budget = DecodeBudget(place.share(settings.max_decode_bytes))
    threads = place.threads(settings.decode_threads or usable_cores())
    decode_pool = DecodePool(threads=threads, observe=metrics.observe_decode)
    differences = Differences(settings.audit_ratio) if shadow and store else None
    follower = Shadow(shadow, settings, metrics=metrics.shadow, observer=differences) if shadow else None
    recorder = (
        _make_recorder(
            store,
            settings,
            metrics,
            place=place,
            budget=budget,
            decode_pool=decode_pool,
            differences=differences,
        )
        if store
        else None
    )
    pipeline = Pipeline(
        settings,
        loaded,
        metrics=metrics,
        decode_pool=decode_pool,
        budget=budget,
        observers=_observers(settings, metrics, shadow=follower, recorder=recorder),
        shadow_size=follower.size if follower else None,
        keep_sources=recorder is not None,
    )
    admission = _make_admission(settings, pipeline, place)
    metrics.watch(
        queued_images=lambda: pipeline.queued_images,
        inflight_images=lambda: admission.images,
        inflight_bytes=lambda: admission.bytes,
        batch_uploads=lambda: admission.streams,
    )
    gathering = Gathering(metrics, number=place.number, workers=place.link)
    return Runtime(
        settings=settings,
        metrics=metrics,
        admission=admission,
        budget=budget,
        decode_pool=decode_pool,
        pipeline=pipeline,
        shadow=follower,
        recorder=recorder,
        place=place,
        metrics_of_all=gathering,
    )


def _observers(
    settings: Settings, metrics: Metrics, *, shadow: Shadow | None, recorder: Recorder | None
) -> list[DecisionObserver]:
    observers: list[DecisionObserver] = [CountDecisions(metrics)]
    if shadow is not None:
        observers.append(shadow)
    if recorder is not None:
        observers.append(RecordDecisions(recorder, audit_ratio=settings.audit_ratio))
    return observers


def _make_recorder(
    store: Store,
    settings: Settings,
    metrics: Metrics,
    *,
    place: Place,
    budget: DecodeBudget,
    decode_pool: DecodePool,
    differences: Differences | None,
) -> Recorder:
    return Recorder(
        store,
        metrics.records,
        limits=Limits(settings.records_max_rows, settings.records_max_days, settings.records_max_image_bytes),
        max_pixels=settings.max_pixels,
        budget=budget,
        is_busy=lambda: decode_pool.queued > 0,
        share=place.share,
        prunes=place.is_first,
        differences=differences,
    )


def _make_admission(settings: Settings, pipeline: Pipeline, place: Place) -> Admission:
    return Admission(
        max_images=place.share(settings.max_inflight_images),
        max_bytes=max(place.share(settings.max_inflight_bytes), settings.max_body_bytes),
        max_body_bytes=settings.max_body_bytes,
        predicted_wait=pipeline.predicted_wait,
        max_streams=place.share(settings.max_streams),
        share=settings.max_share_per_caller,
    )
