"""Time the steps of an image on one thread: decoding, shrinking, hashing, scoring."""

import hashlib
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from statistics import fmean, median

import numpy as np

from bench.scaling.processor import milliseconds, quantiles
from gate import MAX_PIXELS, Model, area_average, read_pixels
from gate.pixels import Pixels
from gate.scorer import Scorer
from service.records.preview import make_preview

BATCH = 32
EDGE = 1024
"""Edge of a generated image in pixels."""

_RUNS = 10


class StepTimer:
    """Measure in the calling thread: each item `rounds` times, without the first round.

    Args:
        model: the model to time.
        rounds: repetitions.
    """

    def __init__(self, model: Model, *, rounds: int) -> None:
        self._scorer = Scorer(model, device="cpu")
        self._rounds = rounds

    @property
    def size(self) -> int:
        """Edge of the model's input in pixels."""
        return self._scorer.size

    def pixels(self, data: bytes) -> Pixels:
        """One image as the model gets it, uint8 `[S, S, 3]`."""
        return read_pixels(data, self.size)

    def decode_ms(self, pictures: Sequence[bytes]) -> tuple[float, ...]:
        """Quantiles of decoding files to pixels."""
        return quantiles(self._repeat(self.pixels, pictures))

    def shrink_ms(self, images: Sequence[Pixels]) -> tuple[float, ...]:
        """Quantiles of shrinking large pixels."""
        return quantiles(self._repeat(self._shrink, images))

    def hash_ms(self, pictures: Sequence[bytes]) -> float:
        """Median of SHA-256 over a file."""
        return median(self._repeat(lambda data: hashlib.sha256(data).digest(), pictures))

    def model_ms(self, pictures: Sequence[bytes]) -> float:
        """Median time of the model per image in a batch of `BATCH`."""
        batch = np.stack([self.pixels(data) for data in islice(cycle(pictures), BATCH)])
        return median(self._repeat(self._scorer.score, [batch] * _RUNS)) / BATCH

    def _shrink(self, image: Pixels) -> Pixels:
        return area_average(image, self.size)

    def _repeat(self, work: Callable[..., object], items: Sequence[object]) -> list[float]:
        return milliseconds(work, list(items) * (self._rounds + 1))[len(items) :]


def picture_bytes(pictures: Sequence[bytes]) -> float:
    """Mean size of the preview of a discarded image."""
    return fmean(len(make_preview(data, max_pixels=MAX_PIXELS)) for data in pictures)


def large_images(count: int) -> list[Pixels]:
    """Return noise, uint8 `[EDGE, EDGE, 3]`; shrinking it takes as long as shrinking a face."""
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (EDGE, EDGE, 3), np.uint8) for _ in range(count)]
