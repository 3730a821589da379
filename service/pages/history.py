"""The last minutes as the operations page shows them: a bounded ring of readings, and what lies between two."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from service.metrics.snapshot import BINS, Bins, Counts, Distribution, Stage

STEPS = 180
"""Steps that are kept."""

SCORES = 1_000
"""Scores that the histogram looks back on, and up to one step's more."""

LATENCY_STEPS = 12
"""Steps that latencies are taken over."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The counts at one time: `time` in seconds since 1970, `at` in seconds of a clock that only goes forward."""

    time: float
    at: float
    counts: Counts


@dataclass(frozen=True, slots=True)
class Step:
    """What happened from one tick to another."""

    before: Tick
    after: Tick

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.after.at - self.before.at


@dataclass
class History:
    """Ticks in order, some of them with the stages' timings. It forgets what is older than `STEPS` ticks."""

    ticks: deque[Tick] = field(default_factory=lambda: deque(maxlen=STEPS + 1))
    timings: deque[Mapping[Stage, Distribution]] = field(default_factory=lambda: deque(maxlen=LATENCY_STEPS + 1))

    def add(self, tick: Tick, timings: Mapping[Stage, Distribution]) -> None:
        """Note what was read at the end of a step."""
        self.ticks.append(tick)
        self.timings.append(timings)

    def steps(self, now: Tick) -> Iterator[Step]:
        """All of them; the last one lasts until `now`, so that it is neither short nor late."""
        whole = list(self.ticks)[:-1] if len(self.ticks) > 1 else list(self.ticks)
        yield from (Step(before, after) for before, after in pairwise([*whole, now]))

    def latencies(self) -> dict[Stage, Distribution]:
        """What each stage took in the last `LATENCY_STEPS` steps."""
        if not self.timings:
            return {}
        first, last = self.timings[0], self.timings[-1]
        return {stage: seconds.since(first[stage]) for stage, seconds in last.items()}


class RecentScores:
    """The histogram of the last `SCORES` scores of one version, by counts that were seen on the way."""

    def __init__(self) -> None:
        self._marks: deque[Bins] = deque()
        self._of: str | None = None

    def add(self, scores: Bins, *, of: str) -> Bins:
        """Note the counts so far, and give the recent ones. Another `of`, or smaller counts, begins anew."""
        if self._of is None or any(map(_is_less, scores, self._marks[-1])):
            self._begin((0,) * BINS, of)
        elif of != self._of:
            # What was counted before the version was first seen is not its own.
            self._begin(scores, of)
        if scores != self._marks[-1]:
            self._marks.append(scores)
        while len(self._marks) > 1 and sum(scores) - sum(self._marks[1]) >= SCORES:
            self._marks.popleft()
        return tuple(now - before for now, before in zip(scores, self._marks[0], strict=True))

    def _begin(self, start: Bins, of: str) -> None:
        self._marks, self._of = deque([start]), of


def _is_less(now: int, before: int) -> bool:
    return now < before
