"""The recent history for the operations page: a bounded ring of readings and their differences."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from service.metrics.snapshot import BINS, Bins, Counts, Distribution, Stage

STEPS = 180
"""Number of steps in the ring."""

SCORES = 1_000
"""Number of scores in the histogram, plus up to one step's."""

LATENCY_STEPS = 12
"""Number of steps in the window of the latencies."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The counts at one time: `time` in seconds since 1970, `at` in seconds of the monotonic clock."""

    time: float
    at: float
    counts: Counts


@dataclass(frozen=True, slots=True)
class Step:
    """The interval between two ticks."""

    before: Tick
    after: Tick

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.after.at - self.before.at


@dataclass
class History:
    """The last `STEPS` ticks, and the stages' timings of the latest ones."""

    ticks: deque[Tick] = field(default_factory=lambda: deque(maxlen=STEPS + 1))
    timings: deque[Mapping[Stage, Distribution]] = field(default_factory=lambda: deque(maxlen=LATENCY_STEPS + 1))

    def add(self, tick: Tick, timings: Mapping[Stage, Distribution]) -> None:
        """Add the reading at the end of a step."""
        self.ticks.append(tick)
        self.timings.append(timings)

    def steps(self, now: Tick) -> Iterator[Step]:
        """Yield all steps; the last one extends to `now`, so that it is neither short nor late."""
        whole = list(self.ticks)[:-1] if len(self.ticks) > 1 else list(self.ticks)
        yield from (Step(before, after) for before, after in pairwise([*whole, now]))

    def latencies(self) -> dict[Stage, Distribution]:
        """Return the durations of each stage in the last `LATENCY_STEPS` steps."""
        if not self.timings:
            return {}
        first, last = self.timings[0], self.timings[-1]
        return {stage: seconds.since(first[stage]) for stage, seconds in last.items()}


class RecentScores:
    """The histogram of the last `SCORES` scores of one version, from successive readings of the counts."""

    def __init__(self) -> None:
        self._marks: deque[Bins] = deque()
        self._model: str | None = None

    def add(self, scores: Bins, *, model: str) -> Bins:
        """Add a reading and return the recent counts. Another model, by its hash, or smaller counts restart it."""
        if self._model is None or any(now < before for now, before in zip(scores, self._marks[-1], strict=True)):
            self._begin((0,) * BINS, model)
        elif model != self._model:
            # Earlier counts belong to the previous version.
            self._begin(scores, model)
        if scores != self._marks[-1]:
            self._marks.append(scores)
        while len(self._marks) > 1 and sum(scores) - sum(self._marks[1]) >= SCORES:
            self._marks.popleft()
        return tuple(now - before for now, before in zip(scores, self._marks[0], strict=True))

    def _begin(self, start: Bins, model: str) -> None:
        self._marks, self._model = deque([start]), model
