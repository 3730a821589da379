"""Rows 7 and 8: latency that the service adds to one image, and queueing under load."""

from dataclasses import dataclass, field
from statistics import median, quantiles

from bench.serving.bench import Bench
from bench.serving.client import latencies
from bench.serving.contenders import lensgate
from bench.serving.openloop import LoadPlan, offer
from bench.serving.report import ReportRow, RoundValues
from bench.serving.wrk import drive

BUSY = 0.7
"""Load of row 8, as a share of the peak."""
_TURNS = 4
"""Length of an open loop in turns: a 99th percentile needs many requests."""


def added(bench: Bench) -> ReportRow:
    """Row 7: one connection, one request at a time."""
    ours = lensgate()
    posts = [ours.post(data) for data in bench.pictures]
    with ours.running(bench.pictures[0]) as server:
        latencies(server.port, posts, seconds=bench.warm_seconds)
        medians = bench.alternate(
            {
                "in-process": lambda: median(bench.limit.latencies(bench.pictures, seconds=bench.seconds)),
                "Lensgate": lambda: median(latencies(server.port, posts, seconds=bench.seconds)),
            }
        )
    bare = RoundValues("in-process, one thread, median", "ms", medians["in-process"])
    served = RoundValues("Lensgate, one connection, median", "ms", medians["Lensgate"])
    return ReportRow(7, served.median - bare.median, [bare, served])


@dataclass(slots=True)
class _Rounds:
    """Results of each round: milliseconds, and images/s for `peak`."""

    unloaded: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)
    poisson: list[float] = field(default_factory=list)
    even: list[float] = field(default_factory=list)
    median: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    refused: int = 0
    """Requests that were not answered 200."""


def busy(bench: Bench) -> ReportRow:
    """Row 8: requests use Expect: 100-continue for large bodies, like a well-behaved client."""
    ours = lensgate()
    posts = [ours.post(data) for data in bench.pictures]
    rounds = _Rounds()
    with ours.running(bench.pictures[0]) as server:
        drive(server.port, posts, seconds=bench.warm_seconds)
        for seed in range(bench.rounds):
            rounds.unloaded.append(median(latencies(server.port, posts, seconds=bench.seconds, expect=True)))
            rounds.peak.append(drive(server.port, posts, seconds=bench.seconds).rate)
            for poisson in (True, False):
                plan = LoadPlan(
                    server.port, BUSY * median(rounds.peak), _TURNS * bench.seconds, poisson=poisson, seed=seed
                )
                result = offer(plan, posts)
                rounds.refused += result.due - len(result.latencies)
                (rounds.poisson if poisson else rounds.even).append(quantiles(result.latencies, n=100)[98])
                if poisson:
                    rounds.median.append(median(result.latencies))
                rounds.lags.append(result.lag)
    return _row(rounds)


def _row(rounds: _Rounds) -> ReportRow:
    unloaded = RoundValues("unloaded median", "ms", rounds.unloaded)
    poisson = RoundValues(f"p99 at {BUSY:.0%} of the peak, Poisson arrivals", "ms", rounds.poisson)
    even = RoundValues(f"p99 at {BUSY:.0%} of the peak, even arrivals", "ms", rounds.even)
    measures = [
        RoundValues("peak", "images/s", rounds.peak),
        unloaded,
        RoundValues(f"median at {BUSY:.0%} of the peak, Poisson arrivals", "ms", rounds.median),
        poisson,
        even,
    ]
    notes = [
        f"with even arrivals {even.median / unloaded.median:.2f} x",
        f"the generator was late by {max(rounds.lags):.1f} ms at most, which counts as latency",
    ]
    fault = f"{rounds.refused} requests were not answered 200" if rounds.refused else ""
    return ReportRow(8, poisson.median / unloaded.median, measures, notes, fault)
