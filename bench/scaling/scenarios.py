"""Scenarios of a simulated fleet, and their outcomes."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.scaling.arrivals import Mix
from bench.scaling.balancers import Balancer
from bench.scaling.replica import ANSWERED
from bench.scaling.simulation import Cluster, SimulatedAnswer, simulate

MIN_IMAGES = 30_000
IMAGES_EACH = 1_500
"""Images per replica: at 1.2 times its capacity a replica reaches its limits after about 600."""
_SEED = 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """A cluster under a load, given relative to its capacity, in bursts of `burst` images.

    The outcome covers images sent from `window[0]` to `window[1]`, in seconds; by default the second half, when queues
    have reached their steady state.
    """

    cluster: Cluster
    load: float
    burst: int = 1
    window: tuple[float, float] | None = None

    def run(self, balancer: Balancer, mix: Mix) -> "ScenarioOutcome":
        """Simulate the scenario behind this balancer."""
        rate = self.load * self.cluster.cores * sum(self.cluster.speeds) / mix.mean
        seconds = max(MIN_IMAGES, IMAGES_EACH * len(self.cluster.speeds)) / rate
        since, until = self.window or (seconds / 2, seconds)
        arrivals = mix.arrivals(random.Random(_SEED), rate=rate, seconds=until, burst=self.burst)
        answers = simulate(self.cluster, balancer, arrivals)
        return ScenarioOutcome.of([answer for answer in answers if answer.sent >= since])


@dataclass(frozen=True, slots=True)
class ScenarioOutcome:
    """Counts of each status, and sorted latencies of the 200s in seconds."""

    statuses: Counter[int]
    seconds: Sequence[float]

    @classmethod
    def of(cls, answers: Sequence[SimulatedAnswer]) -> "ScenarioOutcome":
        """Return the outcome of these answers."""
        seconds = sorted(answer.seconds for answer in answers if answer.status == ANSWERED)
        return cls(Counter(answer.status for answer in answers), seconds)

    def share(self, status: int) -> float:
        """Return the share of images with this status; NaN without images."""
        return self.statuses[status] / total if (total := self.statuses.total()) else math.nan

    def milliseconds(self, share: float) -> float:
        """Return the latency quantile of the 200s; NaN if there are none."""
        return percentile(self.seconds, share) * 1e3


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of the sorted values; NaN if there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan
