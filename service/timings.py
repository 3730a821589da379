"""The durations of the stages of one request, for its log line and its trace."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """One interval of a request, in seconds of the monotonic clock."""

    name: str
    started: float
    ended: float


class Stages:
    """Collects stages: `read`, `decode`, `queue` (for a thread or for the model) and `inference`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.found: list[Stage] = []
        self._clock = clock

    def add(self, name: str, started: float, ended: float) -> None:
        """Add an interval that was measured elsewhere."""
        self.found.append(Stage(name, started, ended))

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure the block."""
        started = self._clock()
        try:
            yield
        finally:
            self.add(name, started, self._clock())

    def latest(self) -> dict[str, float]:
        """Return the seconds of the last interval of each stage, but all of `queue`, as the metrics count them."""
        seconds = {stage.name: stage.ended - stage.started for stage in self.found}
        waits = [stage.ended - stage.started for stage in self.found if stage.name == "queue"]
        return seconds | ({"queue": sum(waits)} if waits else {})

    def milliseconds(self) -> dict[str, float]:
        """Return the total of each stage, in the order of first appearance."""
        sums: dict[str, float] = {}
        for stage in self.found:
            sums[stage.name] = sums.get(stage.name, 0.0) + (stage.ended - stage.started) * 1000
        return {name: round(value, 3) for name, value in sums.items()}
