"""Discrete-event simulation: arrivals, a balancer, replicas with cores, and replicas that stop and return."""

import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from bench.scaling.arrivals import Arrival
from bench.scaling.balancers import OUT, Balancer
from bench.scaling.replica import LOST, REFUSED, QueuedImage, Replica
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Outage:
    """A replica crashes `start` seconds after the beginning and returns `seconds` later."""

    replica: int
    start: float
    seconds: float


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """How a balancer treats an unreachable replica; the defaults are those of docs/operation/scaling.md for nginx.

    Whether to retry refused or unanswered requests on another replica, and after how many consecutive refusals to
    exclude the replica for how many seconds.
    """

    retries: bool = True
    max_fails: float = 3
    fail_timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Replicas of `cores` cores each, one for each of `speeds`; speed 1 is as measured."""

    speeds: Sequence[float]
    cores: int = 2
    settings: Settings = field(default_factory=Settings)
    outages: Sequence[Outage] = ()
    policy: FailurePolicy = field(default_factory=FailurePolicy)


@dataclass(frozen=True, slots=True)
class SimulatedAnswer:
    """The answer to one image: send time, status and latency in seconds."""

    sent: float
    status: int
    seconds: float


def simulate(cluster: Cluster, balancer: Balancer, arrivals: Iterable[Arrival]) -> list[SimulatedAnswer]:
    """Return the answer to each image, in order of the answers."""
    return _Simulation(cluster, balancer).run(arrivals)


class _Simulation:
    """The clock and the scheduled events."""

    def __init__(self, cluster: Cluster, balancer: Balancer) -> None:
        self.now = 0.0
        self._policy = cluster.policy
        self._balancer = balancer
        self._answers: list[SimulatedAnswer] = []
        # Ties are resolved by order of scheduling.
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._numbers = count()
        self._replicas = [
            Replica(number, cluster.settings, cores=cluster.cores, speed=speed, events=self)
            for number, speed in enumerate(cluster.speeds)
        ]
        self._connections = [0] * len(self._replicas)
        self._fails = [0] * len(self._replicas)
        for outage in cluster.outages:
            self.schedule(outage.start, self._replicas[outage.replica].stop, None)
            self.schedule(outage.start + outage.seconds, self._replicas[outage.replica].restart, None)

    def run(self, arrivals: Iterable[Arrival]) -> list[SimulatedAnswer]:
        for arrival in arrivals:
            self._advance(arrival.time)
            self._offer(arrival)
        self._advance(math.inf)
        return self._answers

    def schedule(self, time: float, action: Callable[[Any], None], given: Any) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), action, given))

    def end(self, request: QueuedImage, status: int) -> None:
        self._connections[request.replica] -= 1
        if status == LOST and self._policy.retries:
            self._offer(request.arrival)
        else:
            self._settle(request.arrival, status)

    def _advance(self, until: float) -> None:
        """Run all events up to that time."""
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, action, given = heapq.heappop(events)
            action(given)
        self.now = until

    def _offer(self, arrival: Arrival) -> None:
        replica = self._find()
        if replica is None:
            self._settle(arrival, LOST)
            return
        # Counted before admission, because admission may answer at once.
        self._fails[replica.number] = 0
        self._connections[replica.number] += 1
        if not replica.admit(arrival):
            self._connections[replica.number] -= 1
            self._settle(arrival, REFUSED)

    def _find(self) -> Replica | None:
        """Return the balancer's choice, or another replica if it is unreachable; None after the last try."""
        tried: list[int] = []
        replica = self._pick()
        while replica and not replica.is_up:
            self._fail(replica.number)
            self._connections[replica.number] += OUT
            tried.append(replica.number)
            replica = self._pick() if self._policy.retries else None
        for number in tried:
            self._connections[number] -= OUT
        return replica

    def _pick(self) -> Replica | None:
        """Return the balancer's choice; None if all are excluded."""
        number = self._balancer.pick(self._connections)
        return self._replicas[number] if self._connections[number] < OUT else None

    def _fail(self, number: int) -> None:
        self._fails[number] += 1
        if self._fails[number] == self._policy.max_fails:
            self._connections[number] += OUT
            self.schedule(self.now + self._policy.fail_timeout, self._readmit, number)

    def _readmit(self, number: int) -> None:
        self._fails[number] = 0
        self._connections[number] -= OUT

    def _settle(self, arrival: Arrival, status: int) -> None:
        self._answers.append(SimulatedAnswer(arrival.time, status, self.now - arrival.time))
