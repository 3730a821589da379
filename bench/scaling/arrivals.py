"""Arrivals: images with their processor time, singly or in bursts."""

import random
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

from bench.scaling.measured import Route

_Draw = Callable[[random.Random], float]


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of image: bytes of its body, the distribution of its core seconds, and their mean."""

    size: int
    draw: _Draw
    mean: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """An image sent at `time`, in seconds, that takes `seconds` of a core."""

    time: float
    size: int
    seconds: float


class Mix:
    """A random mix of kinds of images.

    Args:
        kinds: each kind with its share of the images.
    """

    def __init__(self, kinds: Sequence[tuple[float, Work]]) -> None:
        self._edges = list(accumulate(share for share, _ in kinds))
        self._works = [work for _, work in kinds]
        self.mean = sum(share * work.mean for share, work in kinds) / self._edges[-1]

    def arrivals(self, rng: random.Random, *, rate: float, seconds: float, burst: int = 1) -> Iterator[Arrival]:
        """Yield `rate` images/s on average for `seconds`; bursts of `burst` images form a Poisson process."""
        now = rng.expovariate(rate / burst)
        while now <= seconds:
            for _ in range(burst):
                work = self._works[bisect(self._edges, rng.random() * self._edges[-1])]
                yield Arrival(now, work.size, work.draw(rng))
            now += rng.expovariate(rate / burst)


def work_of(route: Route) -> Work:
    """Return a kind as measured: decode time varies between images, the remaining time is constant."""
    edges = route.decode_ms
    # Values between two quantiles are equally likely.
    mean = fmean([*edges[:-1], *edges[1:]])
    rest = max(0.0, route.cpu_ms - mean)

    def draw(rng: random.Random) -> float:
        place = rng.random() * (len(edges) - 1)
        left = int(place)
        return (rest + edges[left] + (edges[left + 1] - edges[left]) * (place - left)) / 1e3

    return Work(round(route.request_bytes), draw, (rest + mean) / 1e3)
