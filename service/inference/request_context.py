"""What a request is while it is worked on: what it asks of each image, its permit and deadline, and its answers."""

import asyncio
import time
from dataclasses import dataclass, field

from gate import Decision, Label
from gate.scorer import Score
from service.inference.admission import Permit
from service.inference.model_runner import ModelRunner
from service.timings import Stages


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What a caller says of an image: its name, if it has one, and what the generator was asked for."""

    identity: str | None = None
    expected: Label | None = None


@dataclass(frozen=True, slots=True)
class ImageDecision:
    """One image's score, what follows from it, and the version that says so."""

    score: Score
    decision: Decision
    runner: ModelRunner


@dataclass(slots=True)
class RequestContext:
    """One admitted body: the version it began with, its permit, its deadline by the monotonic clock, its stages."""

    runner: ModelRunner
    permit: Permit
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
