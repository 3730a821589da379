"""Metrics of decisions, requests, stages and the served model; every label value exists at 0 from the start."""

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from threading import Lock
from typing import Literal, NamedTuple, TypeVar, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gate import Action, Band, Card, Decision, Label, Reason
from gate.errors import ImageError
from service.errors import ServiceError, ShedReason
from service.metrics.drift import RecentDecisions
from service.metrics.instruments import SECONDS, LabelledCounter, LabelledHistogram, counter_by
from service.metrics.merging import Merge, make_gauge
from service.metrics.reading import Reading
from service.metrics.records import RecordMetrics
from service.metrics.shadow import ShadowMetrics
from service.metrics.snapshot import BIN_EDGES
from service.metrics.sources import SourceMetrics

UPLOAD_STATUSES = (200, 400, 413, 422, 500, 503, 504)
"""Of an image of an upload: decided, a wrong part, too large, not a valid image, and the faults of the service."""

REFUSAL_REASONS = ("malformed_request", "expectation_failed", "header_too_large", "connections", "handshakes")
"""The codes of answers to malformed HTTP, and the limits by which connections are closed without an answer."""

_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)

_Kind = TypeVar("_Kind")


class _DecisionKey(NamedTuple):
    decision: Action
    label: Label
    reason: Reason
    version: str


class Metrics:
    """The metrics of one service, in a registry that is passed in.

    Use from the event loop only, except for the observers of batches and decodes, which are thread-safe.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._version = ""
        # By batch size, since the version is served: number of runs, and their seconds.
        self.runs: dict[int, tuple[int, float]] = {}
        self._lock = Lock()
        self._make_decision_metrics()
        self._make_request_metrics()
        self._make_stage_metrics()
        self._make_model_metrics()
        self.shadow = ShadowMetrics(registry)
        self.records = RecordMetrics(registry)
        self.sources = SourceMetrics(registry)

    def serve(self, card: Card, band: Band, *, provider: str) -> None:
        """Start to count for another version; the first call is at startup."""
        self._version = card.version
        self._recent.restart(card.version, card.reference_histogram)
        self.runs.clear()
        for label, reason in product(Label, Reason):
            action = Action.ACCEPT if reason is Reason.CONFIDENT else Action.DISCARD
            self._decisions.expect(_DecisionKey(action, label, reason, card.version))
        self._set_probability_edges(band)
        self._model_info.clear()
        self._model_info.labels(card.name, card.version, card.sha256, provider).set(1)
        self._band_low.set(band.low)
        self._band_high.set(band.high)
        self.observe_load("success")

    def observe_load(self, result: Literal["success", "failure"]) -> None:
        """Count one attempt to load the current model."""
        self._loads.labels(result).inc()
        self._load_failed.set(result == "failure")

    def observe_decision(self, probability: float, decision: Decision, version: str) -> None:
        """Count one decision by `version`."""
        self._decisions.add(_DecisionKey(decision.action, decision.label, decision.reason, version))
        self._probability.observe(probability, ())
        if version == self._version:  # Requests admitted before a swap still finish with the old version.
            self._recent.add(probability, decision.action)

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests.add((route, str(status)))
        self._request_seconds.observe(seconds, (route,))

    def link_trace(self, trace_id: str, route: str, seconds: float, *, stages: Mapping[str, float]) -> None:
        """Make a sampled trace the exemplar of its request's duration and of those of its stages, in seconds."""
        self._request_seconds.link(seconds, (route,), trace_id=trace_id)
        timers = {"decode": self._decode_seconds, "queue": self._wait_seconds, "inference": self._inference_seconds}
        for name, timer in timers.items():
            if name in stages:
                timer.link(stages[name], (), trace_id=trace_id)

    def observe_image_error(self, code: str) -> None:
        """Count one invalid image."""
        self._image_errors.add((code,))

    def observe_upload_image(self, status: int) -> None:
        """Count one image of an upload, by the status that it would have got alone."""
        self._upload_images.add((str(status),))

    def observe_shed(self, reason: ShedReason) -> None:
        """Count one request that was not admitted."""
        self._shed.add((reason,))

    def observe_refusal(self, reason: str) -> None:
        """Count one request or connection that was refused before it reached the app."""
        self._refusals.add((reason,))

    def observe_decode(self, seconds: float) -> None:
        """Time one decode."""
        self._decode_seconds.observe(seconds, ())

    def observe_wait(self, seconds: float) -> None:
        """Time the wait of one image for a decode thread and for the model."""
        self._wait_seconds.observe(seconds, ())

    def observe_batch(self, images: int, seconds: float) -> None:
        """Time one run of the model on `images` images."""
        self._batch_images.observe(images)
        self._inference_seconds.observe(seconds, ())
        with self._lock:
            count, total = self.runs.get(images, (0, 0.0))
            self.runs[images] = (count + 1, total + seconds)

    def watch(
        self,
        *,
        queued_images: Callable[[], int],
        inflight_images: Callable[[], int],
        inflight_bytes: Callable[[], int],
        batch_uploads: Callable[[], int],
    ) -> None:
        """Read the load from its owners at each scrape."""
        self._queued_images.set_function(queued_images)
        self._inflight_images.set_function(inflight_images)
        self._inflight_bytes.set_function(inflight_bytes)
        self._batch_uploads.set_function(batch_uploads)

    def expect_routes(self, routes: Iterable[str]) -> None:
        """Export the series of each route before its first request."""
        statuses = {200, *(kind.status for kind in _subclasses(ServiceError))}
        for route in routes:
            self._request_seconds.expect((route,))
            for status in statuses:
                self._requests.expect((route, str(status)))

    def read(self) -> Reading:
        """Read all metrics of this process."""
        return Reading.of(self.registry, self._recent.window())

    def _make_decision_metrics(self) -> None:
        self._decisions: LabelledCounter[_DecisionKey] = LabelledCounter(
            "lensgate_decisions", "Decisions", _DecisionKey._fields, registry=self.registry
        )
        self._probability: LabelledHistogram[tuple[()]] = LabelledHistogram(
            "lensgate_glasses_probability", "Probability of glasses", [], edges=(), registry=self.registry
        )
        self._recent = RecentDecisions(self.registry)
        codes = [kind.code for kind in _subclasses(ImageError)]
        self._image_errors = self._counter("image_errors", "Images rejected as invalid", "code", codes)

    def _set_probability_edges(self, band: Band) -> None:
        """Add the band's edges to the histogram; another band restarts it, which Prometheus sees as a counter reset."""
        edges = tuple(sorted({*BIN_EDGES, band.low, band.high}))
        if edges != self._probability.edges:
            self._probability.restart(edges)
            self._probability.expect(())

    def _make_request_metrics(self) -> None:
        self._requests: LabelledCounter[tuple[str, str]] = LabelledCounter(
            "lensgate_requests", "Answered requests", ["route", "status"], registry=self.registry
        )
        self._request_seconds: LabelledHistogram[tuple[str]] = LabelledHistogram(
            "lensgate_request_duration_seconds",
            "Time from the request line to the last byte of the response",
            ["route"],
            edges=SECONDS,
            registry=self.registry,
        )
        self._upload_images = self._counter(
            "upload_images",
            "Images of uploads, by the status that each would have got alone",
            "status",
            map(str, UPLOAD_STATUSES),
        )
        self._refusals = self._counter(
            "http_refusals",
            "Requests that are not valid HTTP, and connections closed by a limit; lensgate_requests_total has neither",
            "reason",
            REFUSAL_REASONS,
        )
        self._shed = self._counter("shed", "Requests not admitted", "reason", get_args(ShedReason))
        self._queued_images = self._gauge(
            "queued_images", "Images waiting for a decode thread or for the model", merge="sum"
        )
        self._inflight_images = self._gauge("inflight_images", "Images between admission and answer", merge="sum")
        self._inflight_bytes = self._gauge("inflight_bytes", "Bytes of request bodies in memory", merge="sum")
        self._batch_uploads = self._gauge("batch_uploads", "Uploads of many images in progress", merge="sum")

    def _make_stage_metrics(self) -> None:
        self._decode_seconds = self._timer("decode_seconds", "Time to decode and downscale one image")
        self._wait_seconds = self._timer("queue_wait_seconds", "Time waiting for a decode thread and for the model")
        self._inference_seconds = self._timer("inference_seconds", "Time of one model run")
        self._batch_images = Histogram(
            "lensgate_batch_images", "Images in one model run", buckets=_IMAGES, registry=self.registry
        )

    def _make_model_metrics(self) -> None:
        labels = ("name", "version", "sha256", "provider")
        self._model_info = make_gauge("model_info", "The served model", labels, merge="max", registry=self.registry)
        self._band_low = self._gauge("band_low", "Lower edge of the uncertainty band", merge="min")
        self._band_high = self._gauge("band_high", "Upper edge of the uncertainty band", merge="max")
        self._loads = Counter("lensgate_model_loads", "Attempts to load a model", ["result"], registry=self.registry)
        for result in ("failure", "success"):
            self._loads.labels(result)
        self._load_failed = self._gauge(
            "model_load_failed", "1 while the version named by CURRENT fails to load", merge="max"
        )

    def _counter(self, name: str, text: str, label: str, values: Iterable[str]) -> LabelledCounter[tuple[str]]:
        return counter_by(label, values, name=f"lensgate_{name}", text=text, registry=self.registry)

    def _gauge(self, name: str, text: str, *, merge: Merge) -> Gauge:
        return make_gauge(name, text, merge=merge, registry=self.registry)

    def _timer(self, name: str, text: str) -> LabelledHistogram[tuple[()]]:
        timer: LabelledHistogram[tuple[()]] = LabelledHistogram(
            f"lensgate_{name}", text, [], edges=SECONDS, registry=self.registry
        )
        timer.expect(())
        return timer


def _subclasses(base: type[_Kind]) -> set[type[_Kind]]:
    subclasses = set(base.__subclasses__())
    for kind in tuple(subclasses):
        subclasses |= _subclasses(kind)
    return subclasses
