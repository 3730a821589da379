"""The state of a request in progress: its images, its permit, its deadline and its decisions."""

import asyncio
import time
from dataclasses import dataclass, field

from gate import Decision, Label
from gate.scorer import Score
from service.ids import new_id
from service.inference.admission import Permit
from service.inference.model_runner import ModelRunner
from service.timings import Stages


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image of a request: its id, the label that the generator was asked for, and its source, where known."""

    identity: str | None = None
    expected: Label | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class ImageDecision:
    """The score of one image, the decision that follows, the version that made it, and the ULID of its record."""

    score: Score
    decision: Decision
    runner: ModelRunner
    record: str = field(default_factory=new_id)


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """One admitted request: its version, its permit, its deadline by the monotonic clock and its timings.

    Observers are not told about a trial, so that it is neither counted nor recorded.
    """

    runner: ModelRunner
    permit: Permit
    deadline: float
    stages: Stages = field(default_factory=Stages)
    started: float = field(default_factory=time.monotonic)
    limit: asyncio.Timeout | None = None
    is_trial: bool = False

    def shorten(self, timeout: float) -> float:
        """Move the deadline to `timeout` seconds after the start, if that is earlier; return the seconds left.

        Raises:
            TimeoutError: the deadline has passed.
        """
        self.deadline = min(self.deadline, self.started + timeout)
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if self.limit is not None:
            self.limit.reschedule(asyncio.get_running_loop().time() + left)
        return left
