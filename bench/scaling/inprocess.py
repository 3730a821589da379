"""What parts of the work on an image cost one thread: decoding, shrinking, hashing, scoring."""

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
"""Of a picture as a generator makes it, in pixels."""

_RUNS = 10


class InProcess:
    """Measures in the calling thread; each item is done `rounds` times, the first round of all being left out.

    Args:
        model: what scores.
        rounds: how often.
    """

    def __init__(self, model: Model, *, rounds: int) -> None:
        self._scorer = Scorer(model, device="cpu")
        self._rounds = rounds

    @property
    def size(self) -> int:
        """Edge of the model's input in pixels."""
        return self._scorer.size

    def pixels(self, data: bytes) -> Pixels:
        """One picture as the model sees it, uint8 `[S, S, 3]`."""
        return read_pixels(data, self.size)

    def decode_ms(self, pictures: Sequence[bytes]) -> tuple[float, ...]:
        """Quantiles of files to pixels."""
        return quantiles(self._repeat(self.pixels, pictures))

    def shrink_ms(self, images: Sequence[Pixels]) -> tuple[float, ...]:
        """Quantiles of large pixels to small ones."""
        return quantiles(self._repeat(self._shrink, images))

    def hash_ms(self, pictures: Sequence[bytes]) -> float:
        """SHA-256 over a file, the median."""
        return median(self._repeat(lambda data: hashlib.sha256(data).digest(), pictures))

    def model_ms(self, pictures: Sequence[bytes]) -> float:
        """An image's part of a run of the model on `BATCH`, the median."""
        batch = np.stack([self.pixels(data) for data in islice(cycle(pictures), BATCH)])
        return median(self._repeat(self._scorer.score, [batch] * _RUNS)) / BATCH

    def _shrink(self, image: Pixels) -> Pixels:
        return area_average(image, self.size)

    def _repeat(self, work: Callable[..., object], items: Sequence[object]) -> list[float]:
        return milliseconds(work, list(items) * (self._rounds + 1))[len(items) :]


def picture_bytes(pictures: Sequence[bytes]) -> float:
    """Mean size of what is kept of a discarded image."""
    return fmean(len(make_preview(data, max_pixels=MAX_PIXELS)) for data in pictures)


def large_images(count: int) -> list[Pixels]:
    """Noise, uint8 `[EDGE, EDGE, 3]`: to shrink it takes as long as to shrink a face."""
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (EDGE, EDGE, 3), np.uint8) for _ in range(count)]
