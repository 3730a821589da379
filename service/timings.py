"""The durations of the stages of one request, for its log line and its trace."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Stage:
    """One interval of a request, in seconds of the monotonic clock."""

    name: str
    started: float
    ended: float


def show_duration(seconds: float) -> str:
    """Write a duration for an error text: three digits, so that a timeout in the wrong unit is not shown as 0."""
    value, unit = (seconds, "s") if seconds >= 0.9995 else (seconds * 1000, "ms")
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"


class Measured:
    """The context of `Stages.measure`."""

    __slots__ = ("_clock", "_name", "_stages", "_started")

    def __init__(self, stages: "Stages", name: str, clock: Callable[[], float]) -> None:
        self._stages = stages
        self._name = name
        self._clock = clock

    def __enter__(self) -> None:
        self._started = self._clock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stages.add(self._name, self._started, self._clock())


class Stages:
    """Collects stages: `read`, `decode`, `queue` (for a thread or for the model) and `inference`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.measured: list[Stage] = []
        self._clock = clock

    def add(self, name: str, started: float, ended: float) -> None:
        """Add an interval that was measured elsewhere."""
        self.measured.append(Stage(name, started, ended))

    def measure(self, name: str) -> Measured:
        """Measure a block, also one that fails."""
        return Measured(self, name, self._clock)

    def latest(self) -> dict[str, float]:
        """Return the seconds of the last interval of each stage, but all of `queue`, as the metrics count them."""
        seconds = {stage.name: stage.ended - stage.started for stage in self.measured}
        waits = [stage.ended - stage.started for stage in self.measured if stage.name == "queue"]
        return seconds | ({"queue": sum(waits)} if waits else {})

    def milliseconds(self) -> dict[str, float]:
        """Return the total of each stage, in the order of first appearance."""
        sums: dict[str, float] = {}
        for stage in self.measured:
            sums[stage.name] = sums.get(stage.name, 0.0) + (stage.ended - stage.started) * 1000
        return {name: round(value, 3) for name, value in sums.items()}
