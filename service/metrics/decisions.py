"""Everything that is measured, in one registry that is passed in; every label value exists at 0 from the start."""

from collections import deque
from collections.abc import Callable, Iterable
from functools import cache
from itertools import product
from statistics import NormalDist
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gate import Action, Band, Card, Decision, Label, Reason
from gate.card import ReferenceHistogram
from gate.errors import ImageError
from service.errors import ServiceError
from service.inference.admission import SHED_REASONS
from service.metrics.records import RecordMetrics

WINDOW = 1_000
"""Decisions that `reject_ratio` and `score_drift_psi` look back on."""

DRIFT_MINIMUM = 200
"""Scores below which chance alone would look like drift; until then `score_drift_psi` is not a number."""

# From the 0.3 ms of a small graph to a deadline of some seconds, each step about twice the one before.
_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
_DIFFERENCES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_TWENTIETHS = tuple(edge / 20 for edge in range(1, 21))


Counts = NDArray[np.int64]
_Kind = TypeVar("_Kind")


class Metrics:
    """The instruments of one service. Used from the event loop, but for the two that observe a batch."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._version = ""
        self._reference: ReferenceHistogram | None = None
        self._rejects: deque[bool] = deque(maxlen=WINDOW)
        self._scores: deque[float] = deque(maxlen=WINDOW)
        # By batch size, since the version is served: how many runs, and their seconds.
        self.runs: dict[int, tuple[int, float]] = {}
        self._make_decision_metrics()
        self._make_request_metrics()
        self._make_stage_metrics()
        self._make_model_metrics()
        # What `labels` finds takes it ten times as long to find.
        self._decisions_of = cache(self._decisions.labels)
        self._requests_of = cache(self._requests.labels)
        self._request_seconds_of = cache(self._request_seconds.labels)
        self.shadow = ShadowMetrics(registry)
        self.records = RecordMetrics(registry)

    def serve(self, card: Card, band: Band, *, provider: str) -> None:
        """Another version is served from now on, the first one at the start."""
        self._version = card.version
        self._reference = card.reference_histogram
        self._rejects.clear()
        self._scores.clear()
        self.runs.clear()
        for label, reason in product(Label, Reason):
            action = Action.ACCEPT if reason is Reason.CONFIDENT else Action.DISCARD
            self._decisions.labels(action, label, reason, card.version)
        self._make_probability_histogram(band)
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
        """Count one decision that `version` took."""
        self._decisions_of(decision.action, decision.label, decision.reason, version).inc()
        if self._probability is not None:
            self._probability.observe(probability)
        if version != self._version:
            return  # What began before the swap says nothing of the version that is served.
        self._rejects.append(decision.action is Action.DISCARD)
        self._scores.append(probability)

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests_of(route, str(status)).inc()
        self._request_seconds_of(route).observe(seconds)

    def observe_image_error(self, code: str) -> None:
        """Count one image that could not be judged."""
        self._image_errors.labels(code).inc()

    def observe_shed(self, reason: str) -> None:
        """Count one image that was not admitted."""
        self._shed.labels(reason).inc()

    def observe_decode(self, seconds: float) -> None:
        """Time one decode."""
        self._decode_seconds.observe(seconds)

    def observe_wait(self, seconds: float) -> None:
        """Time one image's wait, for a decode thread and for the model together."""
        self._wait_seconds.observe(seconds)

    def observe_batch(self, images: int, seconds: float) -> None:
        """Time one run of the model on `images` images."""
        self._batch_images.observe(images)
        self._inference_seconds.observe(seconds)
        count, total = self.runs.get(images, (0, 0.0))
        self.runs[images] = (count + 1, total + seconds)

    def watch(self, *, queued_images: Callable[[], int], inflight_bytes: Callable[[], int]) -> None:
        """Read the two depths where they are kept, at each scrape."""
        self._queued_images.set_function(queued_images)
        self._inflight_bytes.set_function(inflight_bytes)

    def expect_routes(self, routes: Iterable[str]) -> None:
        """Let each route's series exist before its first request."""
        statuses = {200, *(kind.status for kind in _subclasses(ServiceError))}
        for route in routes:
            self._request_seconds.labels(route)
            for status in statuses:
                self._requests.labels(route, str(status))

    def _make_decision_metrics(self) -> None:
        self._decisions = Counter(
            "lensgate_decisions",
            "Decisions taken",
            ["decision", "label", "reason", "version"],
            registry=self.registry,
        )
        self._probability: Histogram | None = None
        self._probability_edges: list[float] = []
        self._gauge("reject_ratio", f"Share of discarded images among the last {WINDOW:,}").set_function(
            lambda: sum(self._rejects) / len(self._rejects) if self._rejects else 0.0
        )
        self._gauge(
            "score_drift_psi", f"Population stability index of the last {WINDOW:,} scores against the model's card"
        ).set_function(self._drift)
        self._gauge(
            "score_drift_limit", "What score_drift_psi passes in one of 1,000 windows at most without any drift"
        ).set_function(self._drift_limit)
        self._image_errors = self._counter("image_errors", "Images that could not be judged", "code")
        for kind in _subclasses(ImageError):
            self._image_errors.labels(kind.code)

    def _make_probability_histogram(self, band: Band) -> None:
        """A histogram's edges cannot be moved: another band takes a new one, which Prometheus sees as a reset."""
        edges = sorted({*_TWENTIETHS, band.low, band.high})
        if edges == self._probability_edges:
            return
        if self._probability is not None:
            self.registry.unregister(self._probability)
        self._probability_edges = edges
        self._probability = Histogram(
            "lensgate_glasses_probability",
            "Probability that the person wears glasses",
            buckets=edges,
            registry=self.registry,
        )

    def _make_request_metrics(self) -> None:
        self._requests = self._counter("requests", "Requests answered", "route", "status")
        self._request_seconds = Histogram(
            "lensgate_request_duration_seconds",
            "From the request's first line to the answer's last byte",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._shed = self._counter("shed", "Images that were not admitted", "reason")
        for reason in SHED_REASONS:
            self._shed.labels(reason)
        self._queued_images = self._gauge("queued_images", "Images that wait for a decode thread or for the model")
        self._inflight_bytes = self._gauge("inflight_bytes", "Bytes of bodies that are held")

    def _make_stage_metrics(self) -> None:
        self._decode_seconds = self._histogram("decode_seconds", "Decoding and shrinking one image", _SECONDS)
        self._wait_seconds = self._histogram(
            "queue_wait_seconds", "Waiting for a decode thread and for the model", _SECONDS
        )
        self._inference_seconds = self._histogram("inference_seconds", "One run of the model", _SECONDS)
        self._batch_images = self._histogram("batch_images", "Images in one run of the model", _IMAGES)

    def _make_model_metrics(self) -> None:
        labels = ("name", "version", "sha256", "provider")
        self._model_info = Gauge("lensgate_model_info", "The model that is served", labels, registry=self.registry)
        self._band_low = self._gauge("band_low", "Lower edge of the band of uncertainty")
        self._band_high = self._gauge("band_high", "Upper edge of the band of uncertainty")
        self._loads = self._counter("model_loads", "Attempts to load a model", "result")
        for result in ("failure", "success"):
            self._loads.labels(result)
        self._load_failed = self._gauge("model_load_failed", "1 while CURRENT names what cannot be served")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"lensgate_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"lensgate_{name}", text, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"lensgate_{name}", text, buckets=buckets, registry=self.registry)

    def _drift(self) -> float:
        if self._reference is None or len(self._scores) < DRIFT_MINIMUM:
            return float("nan")
        counts, _ = np.histogram(tuple(self._scores), self._reference.edges)
        return population_stability(counts, np.array(self._reference.counts))

    def _drift_limit(self) -> float:
        if self._reference is None or len(self._scores) < DRIFT_MINIMUM:
            return float("nan")
        return stability_limit(len(self._scores), sum(self._reference.counts), bins=len(self._reference.counts))


class ShadowMetrics:
    """What a version in the shadow of the served one would have said; all 0 where there is none. Safe in threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._images = Counter(
            "lensgate_shadow_images", "Images that the shadow was shown", ["result"], registry=registry
        )
        for result in ("scored", "dropped", "failed"):
            self._images.labels(result)
        self._disagreements = Counter(
            "lensgate_shadow_disagreements",
            "Images that the shadow labels, or decides about, otherwise than was answered",
            ["kind"],
            registry=registry,
        )
        for kind in ("label", "decision"):
            self._disagreements.labels(kind)
        self._difference = Histogram(
            "lensgate_shadow_score_difference",
            "Between the shadow's probability and the one that was answered",
            buckets=_DIFFERENCES,
            registry=registry,
        )
        labels = ("name", "version", "sha256")
        self._info = Gauge("lensgate_shadow_info", "The model in the shadow", labels, registry=registry)

    def serve(self, card: Card) -> None:
        """This version shadows."""
        self._info.labels(card.name, card.version, card.sha256).set(1)

    def observe(self, result: Literal["scored", "dropped", "failed"], images: int) -> None:
        """Count what became of some images."""
        self._images.labels(result).inc(images)

    def compare(self, difference: float, *, label: bool, decision: bool) -> None:
        """Note how far apart two probabilities are, and whether label and decision differ."""
        self._difference.observe(difference)
        if label:
            self._disagreements.labels("label").inc()
        if decision:
            self._disagreements.labels("decision").inc()


def population_stability(found: Counts, expected: Counts) -> float:
    """Population stability index of two histograms over the same edges, counts `[B]` each; 0 is no drift.

    Half a score is added to every count (Jeffreys' prior), so that an empty bin is surprising but not infinite.
    """
    shares = (found + 0.5) / (found + 0.5).sum()
    reference = (expected + 0.5) / (expected + 0.5).sum()
    return float(((shares - reference) * np.log(shares / reference)).sum())


def stability_limit(found: int, expected: int, *, bins: int) -> float:
    """What the index of so many scores, against so many in the reference, passes by chance with probability .001.

    Without drift it is distributed as (1 / found + 1 / expected) times chi-square with `bins` - 1 degrees of freedom
    (Yurdakul and Naranjo, *Statistical Properties of the Population Stability Index*, 2020); the quantile of that is
    by Wilson and Hilferty's cube root, 1 % off at most from 4 degrees on.
    """
    freedom = bins - 1
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + NormalDist().inv_cdf(0.999) * spread**0.5) ** 3
    return float((1 / found + 1 / expected) * quantile)


def _subclasses(base: type[_Kind]) -> set[type[_Kind]]:
    found = set(base.__subclasses__())
    for kind in tuple(found):
        found |= _subclasses(kind)
    return found
