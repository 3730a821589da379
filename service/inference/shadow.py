"""Score the images of the served version with a second version, behind the answers and at the lowest priority."""

import logging
import os
import sys
import threading
from collections.abc import Sequence
from functools import partial

from gate import Label
from gate.pixels import Pixels
from gate.scorer import Score
from service.errors import NotReady
from service.inference.batcher import Scored
from service.inference.model_runner import LoadedModel, ModelRunner
from service.inference.observers import DecidedRequest, ShadowMetrics
from service.inference.request_context import ImageDecision
from service.settings import Settings

log = logging.getLogger(__name__)

MAX_IMAGES = 256
"""Most images that a shadow holds; further ones are dropped."""


class Shadow:
    """Follows the decisions of the version that is served and counts where it would have decided otherwise.

    Its inference thread has the lowest priority there is. When it cannot keep up, images are dropped; when it fails,
    that is counted. It decides with its own card's band, or the operator's over it, and its own novelty threshold.

    Args:
        loaded: the version that shadows.
        settings: batch sizes, and the operator's band.
        metrics: is told of everything.
        max_images: most images that wait or are being scored.
    """

    def __init__(
        self, loaded: LoadedModel, settings: Settings, *, metrics: ShadowMetrics, max_images: int = MAX_IMAGES
    ) -> None:
        self._runner = ModelRunner(loaded, settings, observer=_Unobserved(), prepare=_lower_priority)
        self._metrics = metrics
        self._max_images = max_images
        self._lock = threading.Lock()
        self._held = 0
        self._ended = False
        metrics.serve(loaded.card)

    @property
    def size(self) -> int:
        """Edge of its input in pixels."""
        return self._runner.size

    @property
    def is_alive(self) -> bool:
        """Whether its inference thread runs; nothing that is answered depends on it."""
        return self._runner.batcher.is_alive

    @property
    def held(self) -> int:
        """Images that wait or are being scored."""
        return self._held

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
        """Drop what waits and end the thread."""
        dropped = self._runner.batcher.drop_all()
        self._give_back(dropped)
        self._metrics.observe("dropped", dropped)
        self._runner.close(timeout=1.0)

    def _submit(self, pixels: Pixels, decisions: Sequence[ImageDecision], expected: Sequence[Label | None]) -> None:
        if not self._take(len(pixels)):
            self._metrics.observe("dropped", len(pixels))
            return
        try:
            # A copy: what is a part of a request's tensor would keep all of it.
            self._runner.batcher.submit(pixels.copy(), partial(self._finish, decisions, expected))
        except NotReady as error:
            self._give_back(len(pixels))
            self._metrics.observe("failed", len(pixels))
            self._log_end(error)

    def _take(self, count: int) -> bool:
        with self._lock:
            if self._held + count > self._max_images:
                return False
            self._held += count
            return True

    def _give_back(self, count: int) -> None:
        with self._lock:
            self._held -= count

    def _log_end(self, error: NotReady) -> None:
        if not self._ended:
            self._ended = True
            log.error("the shadow has ended and follows no more: %s", error)

    def _finish(
        self, decisions: Sequence[ImageDecision], expected: Sequence[Label | None], outcome: Scored | Exception
    ) -> None:
        """Runs in the inference thread."""
        self._give_back(len(decisions))
        if isinstance(outcome, Exception):
            self._metrics.observe("failed", len(decisions))
            return
        self._metrics.observe("scored", len(decisions))
        for answered, score, wish in zip(decisions, outcome.scores, expected, strict=True):
            self._compare(answered, score, wish)

    def _compare(self, answered: ImageDecision, score: Score, expected: Label | None) -> None:
        decision = self._runner.decide(score, expected)
        self._metrics.compare(
            abs(score.probability - answered.score.probability),
            label=decision.label is not answered.decision.label,
            decision=decision.action is not answered.decision.action,
        )


class _Unobserved:
    """Waits and batches of a shadow are no part of the service's."""

    def observe_wait(self, seconds: float) -> None: ...

    def observe_batch(self, images: int, seconds: float) -> None: ...


def _lower_priority() -> None:
    if sys.platform == "linux":  # Elsewhere a thread has no number that a priority goes by.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
