"""What is simulated of a fleet, and what came of it."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.scaling.arrivals import Mix
from bench.scaling.balancers import Balancer
from bench.scaling.replica import ANSWERED
from bench.scaling.simulation import Cluster, SimulatedAnswer, simulate

LEAST_IMAGES = 30_000
IMAGES_EACH = 1_500
"""Of a replica: at 1.2 times what it can do its bounds are reached after some 600."""
_SEED = 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """A cluster under a load, which is a share of what all its replicas can do, in bursts of so many images.

    Of interest is what is sent from `window[0]` to `window[1]`, in seconds; without it the second half, queues being as
    full by then as they get.
    """

    cluster: Cluster
    load: float
    burst: int = 1
    window: tuple[float, float] | None = None

    def run(self, balancer: Balancer, mix: Mix) -> "ScenarioOutcome":
        """What comes of it behind this balancer."""
        rate = self.load * self.cluster.cores * sum(self.cluster.speeds) / mix.mean
        seconds = max(LEAST_IMAGES, IMAGES_EACH * len(self.cluster.speeds)) / rate
        since, until = self.window or (seconds / 2, seconds)
        arrivals = mix.arrivals(random.Random(_SEED), rate=rate, seconds=until, burst=self.burst)
        answers = simulate(self.cluster, balancer, arrivals)
        return ScenarioOutcome.of([answer for answer in answers if answer.sent >= since])


@dataclass(frozen=True, slots=True)
class ScenarioOutcome:
    """How often each status was answered, and the seconds of the 200s, sorted."""

    statuses: Counter[int]
    seconds: Sequence[float]

    @classmethod
    def of(cls, answers: Sequence[SimulatedAnswer]) -> "ScenarioOutcome":
        """All of these."""
        seconds = sorted(answer.seconds for answer in answers if answer.status == ANSWERED)
        return cls(Counter(answer.status for answer in answers), seconds)

    def share(self, status: int) -> float:
        """Of all images; not a number where there are none."""
        return self.statuses[status] / total if (total := self.statuses.total()) else math.nan

    def milliseconds(self, share: float) -> float:
        """Within which that share of the 200s was answered; not a number where there are none."""
        return percentile(self.seconds, share) * 1e3


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least of `ordered` that this share of them does not pass; not a number where there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan
