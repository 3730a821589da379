"""Throughput of the cores without a server: the upper bound for a service."""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from gate import Model, read_pixels
from gate.onnx_runtime import onnxruntime
from gate.scorer import Scorer
from gate.types import Pixels

_Item = TypeVar("_Item")


class InProcess:
    """Decode, shrink and score in this process, with the service's own decoder and session."""

    def __init__(self, model: Model) -> None:
        self._scorer = Scorer(model, device="cpu")
        self._graph = model.graph

    @property
    def size(self) -> int:
        """Edge of the model's input in pixels."""
        return self._scorer.size

    def pixels(self, data: bytes) -> Pixels:
        """One picture, uint8 `[1, S, S, 3]`."""
        return read_pixels(data, self.size)[np.newaxis]

    def probability(self, data: bytes) -> float:
        """Classify one image, from bytes to probability."""
        return float(self._scorer.score(self.pixels(data)).probability[0])

    def rate(self, pictures: Sequence[bytes], *, threads: int, seconds: float) -> float:
        """Return images/s on so many threads."""
        with ThreadPoolExecutor(threads) as pool:
            turns = [itertools.islice(itertools.cycle(pictures), turn, None) for turn in range(threads)]
            return sum(pool.map(lambda own: _rate(self.probability, own, seconds), turns))

    def latencies(self, pictures: Sequence[bytes], *, seconds: float) -> list[float]:
        """Return the milliseconds of each image, sequentially."""
        return timed(self.probability, pictures, seconds)

    def batches(self, batch: Pixels, *, seconds: float) -> float:
        """Return images/s of bare `session.run` in one thread, with the service's session options."""
        return _batches(self._scorer._session, batch, seconds)

    def batches_by_default(self, batch: Pixels, *, seconds: float) -> float:
        """The same with ONNX Runtime's default options, which use every core."""
        session = onnxruntime.InferenceSession(self._graph, providers=["CPUExecutionProvider"])
        return _batches(session, batch, seconds)


def timed(work: Callable[[_Item], object], items: Iterable[_Item], seconds: float) -> list[float]:
    """Return milliseconds of `work` on `items`, repeated until `seconds` have passed."""
    times = []
    end = time.perf_counter() + seconds
    for item in itertools.cycle(items):
        start = time.perf_counter()
        work(item)
        stop = time.perf_counter()
        times.append((stop - start) * 1e3)
        if stop > end:
            break
    return times


def _rate(work: Callable[[_Item], object], items: Iterable[_Item], seconds: float) -> float:
    """Return items/s."""
    start = time.perf_counter()
    for count, item in enumerate(items, 1):
        work(item)
        if (spent := time.perf_counter() - start) >= seconds:
            return count / spent
    raise ValueError("there are no items")


def _batches(session: Any, batch: Pixels, seconds: float) -> float:
    names = [output.name for output in session.get_outputs()]
    feeds = itertools.repeat({"image": batch})
    return len(batch) * _rate(lambda feed: session.run(names, feed), feeds, seconds)
