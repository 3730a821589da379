"""Discrete events: images come, a balancer picks a replica for each, cores work, replicas stop and come back."""

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
    """A replica stops without warning, `start` seconds after the beginning, and is there again `seconds` later."""

    replica: int
    start: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Care:
    """What a balancer does about a replica that nobody answers at; by default what docs/scaling.md tells nginx to do.

    Whether another one gets what that one does not take or leaves unanswered, and how many that it does not take, one
    after the other, leave it out for how many seconds.
    """

    passes_on: bool = True
    fails: float = 3
    out_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Replicas of so many cores each, one for each of `speeds`, 1 being as fast as was measured."""

    speeds: Sequence[float]
    cores: int = 2
    settings: Settings = field(default_factory=Settings)
    outages: Sequence[Outage] = ()
    care: Care = field(default_factory=Care)


@dataclass(frozen=True, slots=True)
class SimulatedAnswer:
    """What became of one image: when it was sent, the status, and after how many seconds."""

    sent: float
    status: int
    seconds: float


def simulate(cluster: Cluster, balancer: Balancer, arrivals: Iterable[Arrival]) -> list[SimulatedAnswer]:
    """What becomes of each image, in the order of the answers."""
    return _Simulation(cluster, balancer).run(arrivals)


class _Simulation:
    """The clock and what is to happen by it."""

    def __init__(self, cluster: Cluster, balancer: Balancer) -> None:
        self.now = 0.0
        self._care = cluster.care
        self._balancer = balancer
        self._answers: list[SimulatedAnswer] = []
        # Of two at the same time the one that was scheduled first.
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
        if status == LOST and self._care.passes_on:
            self._offer(request.arrival)
        else:
            self._settle(request.arrival, status)

    def _advance(self, until: float) -> None:
        """Let everything happen that does until then."""
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
        # Before it is admitted: it may be answered by then.
        self._fails[replica.number] = 0
        self._connections[replica.number] += 1
        if not replica.admit(arrival):
            self._connections[replica.number] -= 1
            self._settle(arrival, REFUSED)

    def _find(self) -> Replica | None:
        """The balancer's choice, another one where nobody answers there; None where that was the last try."""
        tried: list[int] = []
        replica = self._pick()
        while replica and not replica.is_up:
            self._fail(replica.number)
            self._connections[replica.number] += OUT
            tried.append(replica.number)
            replica = self._pick() if self._care.passes_on else None
        for number in tried:
            self._connections[number] -= OUT
        return replica

    def _pick(self) -> Replica | None:
        """The balancer's choice; None where all are left out."""
        number = self._balancer.pick(self._connections)
        return self._replicas[number] if self._connections[number] < OUT else None

    def _fail(self, number: int) -> None:
        self._fails[number] += 1
        if self._fails[number] == self._care.fails:
            self._connections[number] += OUT
            self.schedule(self.now + self._care.out_seconds, self._readmit, number)

    def _readmit(self, number: int) -> None:
        self._fails[number] = 0
        self._connections[number] -= OUT

    def _settle(self, arrival: Arrival, status: int) -> None:
        self._answers.append(SimulatedAnswer(arrival.time, status, self.now - arrival.time))
