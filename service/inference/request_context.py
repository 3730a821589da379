"""What a request is while it is worked on: what it asks of each image, its place and deadline, and its answers."""

import asyncio
import time
from dataclasses import dataclass, field

from gate import Decision, Label
from gate.scorer import Score
from service.inference.admission import Place
from service.inference.model_runner import Engine
from service.timings import Stages


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller says of an image: its name, if it has one, and what the generator was asked for."""

    identity: str | None = None
    expected: Label | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One image's score, what follows from it, and the version that says so."""

    score: Score
    decision: Decision
    engine: Engine


@dataclass(slots=True)
class Job:
    """One admitted body: the version it began with, its place, its deadline by the monotonic clock, its stages."""

    engine: Engine
    place: Place
    deadline: float
    stages: Stages = field(default_factory=Stages)
    started: float = field(default_factory=time.monotonic)
    limit: asyncio.Timeout | None = None

    def shorten(self, timeout: float) -> float:
        """Answer within `timeout` seconds of the start, if that is earlier; returns the seconds that are left.

        Raises:
            TimeoutError: none are.
        """
        self.deadline = min(self.deadline, self.started + timeout)
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if self.limit is not None:
            self.limit.reschedule(asyncio.get_running_loop().time() + left)
        return left
