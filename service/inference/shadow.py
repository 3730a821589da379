"""Score the images of the served version with a second version, behind the answers and at the lowest priority."""

import logging
import os
import sys
import threading
from collections.abc import Sequence
from functools import partial

from gate import Label
from gate.pixels import Pixels
from service.errors import NotReady
from service.inference.batcher import Scored
from service.inference.model_runner import LoadedModel, ModelRunner
from service.inference.observers import DecidedRequest, DifferenceObserver, ShadowMetrics
from service.inference.request_context import ImageDecision
from service.settings import Settings

log = logging.getLogger(__name__)

MAX_IMAGES = 256
"""Largest number of images that a shadow holds; further ones are dropped."""


class Shadow:
    """Scores the images of the served version and counts differing decisions.

    Its inference thread has the lowest priority. Images beyond its capacity are dropped, and failures are counted. It
    decides by its own card's band and novelty threshold; the operator's band overrides the card's.

    Args:
        loaded: the shadow version.
        settings: batch sizes, and the operator's band.
        metrics: counts images and differences.
        observer: is told about each difference.
        max_images: limit of images that are queued or being scored.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        settings: Settings,
        *,
        metrics: ShadowMetrics,
        observer: DifferenceObserver | None = None,
        max_images: int = MAX_IMAGES,
    ) -> None:
        self._runner = ModelRunner(loaded, settings, observer=_Unobserved(), prepare=_lower_priority)
        self._metrics = metrics
        self._observer = observer
        self._max_images = max_images
        self._lock = threading.Lock()
        self.held = 0
        """Images that are queued or being scored."""
        self._ended = False
        metrics.serve(loaded.card)

    @property
    def size(self) -> int:
        """Edge length of its input in pixels."""
        return self._runner.size

    @property
    def is_alive(self) -> bool:
        """Whether its inference thread runs; no answer depends on it."""
        return self._runner.batcher.is_alive

    def start(self) -> None:
        """Start the inference thread."""
        self._runner.start()

    async def decided(self, request: DecidedRequest) -> None:
        """Follow one request of the served version."""
        self.follow(request.inputs.shadow, request.decisions, [image.expected for image in request.images])

    def follow(
        self, pixels: Pixels | None, decisions: Sequence[ImageDecision], expected: Sequence[Label | None]
    ) -> None:
        """Queue `pixels`, uint8 `[N, S, S, 3]`, to be scored and compared with the `decisions`. Returns at once."""
        if pixels is None:
            self._metrics.observe("failed", len(decisions))
            return
        step = self._runner.batcher.max_batch_size
        for first in range(0, len(pixels), step):
            part = slice(first, first + step)
            self._submit(pixels[part], decisions[part], expected[part])

    def close(self) -> None:
        """Drop the queued images and end the thread."""
        dropped = self._runner.batcher.drop_all()
        self._give_back(dropped)
        self._metrics.observe("dropped", dropped)
        self._runner.close(timeout=1.0)

    def _submit(self, pixels: Pixels, decisions: Sequence[ImageDecision], expected: Sequence[Label | None]) -> None:
        if not self._take(len(pixels)):
            self._metrics.observe("dropped", len(pixels))
            return
        try:
            # A copy: a slice would keep the whole tensor of the request alive.
            kept = pixels.copy()
            self._runner.batcher.submit(kept, partial(self._finish, kept, decisions, expected))
        except NotReady as error:
            self._give_back(len(pixels))
            self._metrics.observe("failed", len(pixels))
            self._log_end(error)

    def _take(self, count: int) -> bool:
        with self._lock:
            if self.held + count > self._max_images:
                return False
            self.held += count
            return True

    def _give_back(self, count: int) -> None:
        with self._lock:
            self.held -= count

    def _log_end(self, error: NotReady) -> None:
        if not self._ended:
            self._ended = True
            log.error("the shadow has ended and scores no further images: %s", error)

    def _finish(
        self,
        pixels: Pixels,
        decisions: Sequence[ImageDecision],
        expected: Sequence[Label | None],
        outcome: Scored | Exception,
    ) -> None:
        """Count the outcome, in the inference thread."""
        self._give_back(len(decisions))
        if isinstance(outcome, Exception):
            self._metrics.observe("failed", len(decisions))
            return
        self._metrics.observe("scored", len(decisions))
        for image, answered, score, requested in zip(pixels, decisions, outcome.scores, expected, strict=True):
            self._compare(image, answered, ImageDecision(score, self._runner.decide(score, requested), self._runner))

    def _compare(self, image: Pixels, answered: ImageDecision, shadow: ImageDecision) -> None:
        label = shadow.decision.label is not answered.decision.label
        decision = shadow.decision.action is not answered.decision.action
        distance = abs(shadow.score.probability - answered.score.probability)
        self._metrics.compare(distance, label=label, decision=decision)
        if self._observer is not None and (label or decision):
            self._observer.differs(answered, shadow, image)


class _Unobserved:
    """Ignores waits and batches: the service's metrics do not include the shadow's."""

    def observe_wait(self, seconds: float) -> None: ...

    def observe_batch(self, images: int, seconds: float) -> None: ...


def _lower_priority() -> None:
    if sys.platform == "linux":  # Other systems set priorities for processes only.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
