"""Rows 9 and 10: a minute at four times the capacity: goodput and memory."""

from bench.serving.bench import Bench
from bench.serving.contenders import lensgate
from bench.serving.openloop import LoadPlan, LoadResult, offer
from bench.serving.processes import MemoryWatch
from bench.serving.report import ReportRow, RoundValues
from bench.serving.wrk import drive

FACTOR = 4.0
_TURNS = 12
_BLIND_TURNS = 6


def overload(bench: Bench) -> list[ReportRow]:
    """Rows 9 and 10, from one run of one server; the peak rate is measured before, between and after."""
    ours = lensgate()
    posts = [ours.post(data) for data in bench.pictures]
    peak = []
    with ours.running(bench.pictures[0]) as server:

        def measure_peak() -> None:
            ours.wait(server.port, bench.pictures[0])
            peak.append(drive(server.port, posts, seconds=bench.seconds).rate)

        drive(server.port, posts, seconds=bench.warm_seconds)
        measure_peak()
        rate = FACTOR * peak[0]
        with MemoryWatch(server.pid) as watch:
            asking = offer(LoadPlan(server.port, rate, _TURNS * bench.seconds), posts)
        held = server.peak_memory()
        measure_peak()
        with MemoryWatch(server.pid) as blind_watch:
            blind = offer(LoadPlan(server.port, rate, _BLIND_TURNS * bench.seconds, expects=False), posts)
        measure_peak()
    memory = [
        RoundValues("VmHWM since its start", "MB", [held]),
        RoundValues("VmRSS, the most sampled", "MB", [watch.peak]),
        RoundValues("VmRSS with clients that send blindly", "MB", [blind_watch.peak]),
    ]
    return [_row(peak, asking, blind), ReportRow(10, held, memory)]


def _row(peaks: list[float], asking: LoadResult, blind: LoadResult) -> ReportRow:
    peak = RoundValues("peak before, between and after", "images/s", peaks)
    offered = asking.due / asking.seconds
    measures = [
        peak,
        RoundValues("offered", "images/s", [offered]),
        RoundValues("answered 200", "images/s", [asking.in_time / asking.seconds]),
        RoundValues("answered 200 to clients that send blindly", "images/s", [blind.in_time / blind.seconds]),
    ]
    notes = [f"asking first: {_story(asking)}", f"sending blindly: {_story(blind)}"]
    share = asking.in_time / asking.seconds / peak.median
    return ReportRow(9, share, measures, notes, asking.fault)


def _story(result: LoadResult) -> str:
    answered = ", ".join(f"{count} x {status}" for status, count in sorted(result.statuses.items()))
    failed = "".join(f", {count} {name}" for name, count in sorted(result.failures.items()))
    early = sum(result.early.values())
    return (
        f"{result.due} due, {answered}{failed}; {early} answered before the body was sent, "
        f"{result.impatient} without 100 Continue within a second, "
        f"{result.wasted / 1e6:.0f} MB sent in vain; generator {result.cpu / result.seconds:.0%} of a core, "
        f"late by {result.lag:.0f} ms at most"
    )
