"""What the stages of one request took; the log line and the trace are made of it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """One stretch of a request, by the monotonic clock in seconds."""

    name: str
    started: float
    ended: float


class Stages:
    """Collects stages: `read`, `decode`, `queue` (for a thread and for the model) and `inference`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.found: list[Stage] = []
        self._clock = clock

    def add(self, name: str, started: float, ended: float) -> None:
        """Note one stretch that was measured elsewhere."""
        self.found.append(Stage(name, started, ended))

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Note what the block takes."""
        started = self._clock()
        try:
            yield
        finally:
            self.add(name, started, self._clock())

    def milliseconds(self) -> dict[str, float]:
        """The sum of each stage's stretches, in the order in which they began to be noted."""
        sums: dict[str, float] = {}
        for stage in self.found:
            sums[stage.name] = sums.get(stage.name, 0.0) + (stage.ended - stage.started) * 1000
        return {name: round(value, 3) for name, value in sums.items()}
