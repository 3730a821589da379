"""The parts of a running service, built once and passed to the endpoints."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry

from common.thread_limit import explained_thread_limit
from gate import DecodeBudget
from gate.cores import usable_cores
from service.errors import Draining
from service.followers import Followers, make_followers
from service.http.connections import connection_limit
from service.http.failed_request import FailedRequest
from service.inference.admission import Admission
from service.inference.decode_pool import DecodePool
from service.inference.model_runner import LoadedModel, ModelRunner
from service.inference.observers import DecisionObserver
from service.inference.pipeline import Pipeline
from service.metrics.decisions import Metrics
from service.metrics.gathering import Gathering
from service.observers import CountDecisions, RecordDecisions
from service.records.store import Store
from service.settings import Settings
from service.worker_context import ALONE, WorkerContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Holds the parts, and starts and closes those that own threads.

    Enter it with `async with` for as long as the service runs.
    """

    settings: Settings
    metrics: Metrics
    admission: Admission
    decode_pool: DecodePool
    pipeline: Pipeline
    followers: Followers
    worker: WorkerContext
    metrics_of_all: Gathering

    @property
    def runner(self) -> ModelRunner:
        """The version that is served now."""
        return self.pipeline.runner

    @property
    def store(self) -> Store | None:
        """The store of decisions; None if they are not recorded."""
        recorder = self.followers.recorder
        return recorder.store if recorder else None

    def note_failure(self, failed: FailedRequest) -> None:
        """Record a failed request, if decisions are recorded."""
        if self.followers.recorder is not None:
            self.followers.recorder.failures.observe(failed)

    @property
    def connections(self) -> int:
        """The maximum number of connections of each port of this process."""
        ports = 1 + sum(port is not None for port in (self.settings.metrics_port, self.settings.grpc_port))
        return connection_limit(self.worker.share(self.settings.max_connections), ports=ports)

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
            self.followers.start()

    async def close(self) -> None:
        """Drain and end the threads. The event loop stays free, so that probes are answered meanwhile."""
        self.drain()
        await self.pipeline.close()
        await self.followers.close()

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
    worker: WorkerContext = ALONE,
) -> Runtime:
    """Build the parts of one process; no thread is started.

    Args:
        settings: of the service; its limits are those of all workers, and this one keeps its share.
        loaded: the model to serve.
        shadow: the shadow version, if there is one.
        worker: this process among the workers.

    Raises:
        SettingsError: the settings do not name a usable store of decisions, or a band that does not fit a card.
    """
    metrics = Metrics(CollectorRegistry())
    metrics.sources.expect(settings.listed_sources)
    decode_pool = DecodePool(
        threads=worker.threads(settings.decode_threads or usable_cores()),
        observe=metrics.observe_decode,
        budget=DecodeBudget(worker.share(settings.max_decode_bytes)),
    )
    followers = make_followers(settings, metrics, shadow=shadow, worker=worker, decode_pool=decode_pool)
    pipeline = _make_pipeline(settings, loaded, metrics=metrics, decode_pool=decode_pool, followers=followers)
    admission = _make_admission(settings, pipeline, worker)
    _watch_load(metrics, pipeline, admission)
    return Runtime(
        settings=settings,
        metrics=metrics,
        admission=admission,
        decode_pool=decode_pool,
        pipeline=pipeline,
        followers=followers,
        worker=worker,
        metrics_of_all=Gathering(metrics, number=worker.number, workers=worker.link),
    )


def _make_pipeline(
    settings: Settings, loaded: LoadedModel, *, metrics: Metrics, decode_pool: DecodePool, followers: Followers
) -> Pipeline:
    return Pipeline(
        settings,
        loaded,
        metrics=metrics,
        decode_pool=decode_pool,
        observers=_observers(settings, metrics, followers),
        shadow_size=followers.shadow.size if followers.shadow else None,
        keep_sources=followers.recorder is not None,
    )


def _observers(settings: Settings, metrics: Metrics, followers: Followers) -> list[DecisionObserver]:
    observers: list[DecisionObserver] = [CountDecisions(metrics)]
    if followers.shadow is not None:
        observers.append(followers.shadow)
    if followers.recorder is not None:
        observers.append(RecordDecisions(followers.recorder, audit_ratio=settings.audit_ratio))
    return observers


def _watch_load(metrics: Metrics, pipeline: Pipeline, admission: Admission) -> None:
    metrics.watch(
        queued_images=lambda: pipeline.queued_images,
        inflight_images=lambda: admission.images,
        inflight_bytes=lambda: admission.bytes,
        batch_uploads=lambda: admission.streams,
    )


def _make_admission(settings: Settings, pipeline: Pipeline, worker: WorkerContext) -> Admission:
    return Admission(
        max_images=worker.share(settings.max_inflight_images),
        max_bytes=max(worker.share(settings.max_inflight_bytes), settings.max_body_bytes),
        max_body_bytes=settings.max_body_bytes,
        predicted_wait=pipeline.predicted_wait,
        max_streams=worker.share(settings.max_streams),
        share=settings.max_share_per_caller,
    )
