"""A second version that scores the same pixels as the one that answers, behind the answers and in nobody's way."""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from gate import Budget, Decision, Label, area_average, read_pixels, read_pixels_at
from gate.errors import ImageTooSmall
from gate.pixels import Pixels
from gate.scorer import Score
from service.errors import NotReady
from service.inference.batcher import Scored
from service.inference.model_runner import Engine, Loaded
from service.metrics.shadow import ShadowMetrics
from service.records.preview import Source
from service.settings import Settings

log = logging.getLogger(__name__)

MAX_IMAGES = 256
"""Most images that a shadow holds; further ones are dropped."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Edges in pixels: of the input of the model that answers, and of its shadow's, where there is one."""

    served: int
    shadow: int | None = None

    def are_below(self, edge: int) -> bool:
        """Whether images of this edge have to be shrunk for either."""
        return self.served < edge or (self.shadow is not None and self.shadow < edge)


@dataclass(frozen=True, slots=True)
class Views:
    """The same N images for the model that answers and for its shadow, uint8 `[N, S, S, 3]` each.

    `shadow` is None where nothing shadows, or where the images are too small for it. `sources`, what each image came
    as, are there where decisions are recorded.
    """

    served: Pixels
    shadow: Pixels | None
    sources: tuple[Source, ...] = ()


class Judged(Protocol):
    """What was answered about one image."""

    @property
    def score(self) -> Score: ...

    @property
    def decision(self) -> Decision: ...


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
        self, loaded: Loaded, settings: Settings, *, metrics: ShadowMetrics, max_images: int = MAX_IMAGES
    ) -> None:
        self._engine = Engine(loaded, settings, observer=_Unobserved(), prepare=_lower_priority)
        self._metrics = metrics
        self._max_images = max_images
        self._lock = threading.Lock()
        self._held = 0
        self._ended = False
        metrics.serve(loaded.card)

    @property
    def size(self) -> int:
        """Edge of its input in pixels."""
        return self._engine.size

    @property
    def is_alive(self) -> bool:
        """Whether its inference thread runs; nothing that is answered depends on it."""
        return self._engine.batcher.is_alive

    @property
    def held(self) -> int:
        """Images that wait or are being scored."""
        return self._held

    def follow(self, pixels: Pixels | None, judged: Sequence[Judged], expected: Sequence[Label | None]) -> None:
        """Score `pixels`, uint8 `[N, S, S, 3]`, some time, and compare with what was `judged`. Returns at once."""
        if pixels is None:
            self._metrics.observe("failed", len(judged))
            return
        step = self._engine.batcher.max_batch_size
        for first in range(0, len(pixels), step):
            part = slice(first, first + step)
            self._submit(pixels[part], judged[part], expected[part])

    def close(self) -> None:
        """Drop what waits and end the thread."""
        dropped = self._engine.batcher.drop_all()
        self._give_back(dropped)
        self._metrics.observe("dropped", dropped)
        self._engine.close(timeout=1.0)

    def _submit(self, pixels: Pixels, judged: Sequence[Judged], expected: Sequence[Label | None]) -> None:
        if not self._take(len(pixels)):
            self._metrics.observe("dropped", len(pixels))
            return
        try:
            # A copy: what is a part of a request's tensor would keep all of it.
            self._engine.batcher.submit(pixels.copy(), partial(self._finish, judged, expected))
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

    def _finish(self, judged: Sequence[Judged], expected: Sequence[Label | None], outcome: Scored | Exception) -> None:
        """Runs in the inference thread."""
        self._give_back(len(judged))
        if isinstance(outcome, Exception):
            self._metrics.observe("failed", len(judged))
            return
        self._metrics.observe("scored", len(judged))
        for answer, score, wish in zip(judged, outcome.scores, expected, strict=True):
            self._compare(answer, score, wish)

    def _compare(self, answer: Judged, score: Score, expected: Label | None) -> None:
        decision = self._engine.decide(score, expected)
        self._metrics.compare(
            abs(score.probability - answer.score.probability),
            label=decision.label is not answer.decision.label,
            decision=decision.action is not answer.decision.action,
        )


def read_views(body: bytes | bytearray, *, sizes: Sizes, max_pixels: int, budget: Budget | None = None) -> Views:
    """One image file at both sizes, N = 1, decoded once where that can be.

    Raises:
        ImageError: the image cannot be judged. That it is too small for the shadow alone is no fault.
    """
    if sizes.shadow not in (None, sizes.served):
        with contextlib.suppress(ImageTooSmall):
            served, shadow = read_pixels_at(body, (sizes.served, sizes.shadow), max_pixels=max_pixels, budget=budget)
            return Views(served[np.newaxis], shadow[np.newaxis])
    pixels = read_pixels(body, sizes.served, max_pixels=max_pixels, budget=budget)[np.newaxis]
    return Views(pixels, pixels if sizes.shadow == sizes.served else None)


def shrink_views(pixels: Pixels, sizes: Sizes) -> Views:
    """`pixels`, uint8 `[N, H, H, 3]`, averaged down to both sizes. H is at least the served one."""
    served = _shrink(pixels, sizes.served)
    if sizes.shadow is None or sizes.shadow > pixels.shape[1]:
        return Views(served, None)
    return Views(served, served if sizes.shadow == sizes.served else _shrink(pixels, sizes.shadow))


def join_views(parts: Sequence[Views]) -> Views:
    """The images of all parts in order."""
    if len(parts) == 1:
        return parts[0]
    shadows = [part.shadow for part in parts if part.shadow is not None]
    shadow = np.concatenate(shadows) if len(shadows) == len(parts) else None
    sources = tuple(source for part in parts for source in part.sources)
    return Views(np.concatenate([part.served for part in parts]), shadow, sources)


def _shrink(pixels: Pixels, size: int) -> Pixels:
    if pixels.shape[1] == size:
        return pixels
    return np.stack([area_average(image, size) for image in pixels])


class _Unobserved:
    """Waits and batches of a shadow are no part of the service's."""

    def observe_wait(self, seconds: float) -> None: ...

    def observe_batch(self, images: int, seconds: float) -> None: ...


def _lower_priority() -> None:
    if sys.platform == "linux":  # Elsewhere a thread has no number that a priority goes by.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
