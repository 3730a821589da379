"""Two real replicas, each with one decode thread on its own core, behind a real nginx."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.scaling.processor import seconds_of, taken_by_others, ticks
from bench.serving.contenders import Contender, lensgate
from bench.serving.openloop import LoadPlan, LoadResult, offer
from bench.serving.posts import Post
from bench.serving.processes import Running
from bench.serving.wrk import drive

REPLICAS = 2


class TooFewCoresError(RuntimeError):
    """The replicas cannot have a core each."""


@dataclass(frozen=True, slots=True)
class Expense:
    """Core milliseconds per image: of the replica, and of nginx and the load generator together."""

    replica: float
    between: float


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """Result of a plan: answers, processor time per image, and the share of all cores used by other processes."""

    result: LoadResult
    expense: Expense
    others: float


@dataclass(frozen=True, slots=True)
class ReplicaPair:
    """The replicas behind one nginx.

    `is_alone`: the replicas have their cores to themselves; otherwise nginx and the generator share them.
    """

    replicas: Sequence[Running]
    proxy: Running
    posts: Sequence[Post]
    is_alone: bool

    def plan(self, *, rate: float, seconds: float, seed: int = 0) -> LoadPlan:
        """Return a plan of `rate` images/s as a Poisson process."""
        return LoadPlan(self.proxy.port, rate, seconds, seed=seed)

    def start_seconds(self) -> float:
        """Core seconds that the generator takes to start, before the first image."""
        return offer(LoadPlan(self.proxy.port, 1.0, 1.0, poisson=False), self.posts).cpu

    def send(self, plan: LoadPlan, *, start_seconds: float) -> PlanOutcome:
        """Run a plan."""
        clock, spent = ticks(), self._spent()
        result = offer(plan, self.posts)
        replica, proxy = (after - before for before, after in zip(spent, self._spent(), strict=True))
        others = taken_by_others(clock, ticks(), ours=replica + proxy + result.cpu)
        answered = max(1, len(result.latencies))
        expense = Expense(replica / answered * 1e3, (proxy + result.cpu - start_seconds) / max(1, result.due) * 1e3)
        return PlanOutcome(result, expense, others)

    def full_ms(self, seconds: float) -> float:
        """Core milliseconds per image in a replica when both replicas are saturated."""
        before, _ = self._spent()
        answered = drive(self.proxy.port, self.posts, seconds=seconds).requests
        after, _ = self._spent()
        return (after - before) / answered * 1e3

    def _spent(self) -> tuple[float, float]:
        return seconds_of(*(replica.pid for replica in self.replicas)), seconds_of(self.proxy.pid)


@contextmanager
def replicas(picture: bytes) -> Iterator[tuple[Sequence[Running], bool]]:
    """Start both; processes started in the block are kept off their cores if there are others.

    Raises:
        TooFewCoresError: there are fewer than two cores.
        StartError: a replica does not start.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < REPLICAS:
        raise TooFewCoresError(f"each of {REPLICAS} replicas needs a core of its own: there is one")
    rest = cores[REPLICAS:]
    with ExitStack() as stack:
        started = [stack.enter_context(_pinned(core).running(picture)) for core in cores[:REPLICAS]]
        stack.callback(os.sched_setaffinity, 0, cores)
        os.sched_setaffinity(0, rest or cores)
        yield started, bool(rest)


def _pinned(core: int) -> Contender:
    contender = lensgate(settings={"LENSGATE_DECODE_THREADS": "1"})
    return dataclasses.replace(
        contender, command=lambda port: ["taskset", "--cpu-list", str(core), *contender.command(port)]
    )
