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
            expecting = offer(LoadPlan(server.port, rate, _TURNS * bench.seconds), posts)
        held = server.peak_memory()
        measure_peak()
        with MemoryWatch(server.pid) as blind_watch:
            blind = offer(LoadPlan(server.port, rate, _BLIND_TURNS * bench.seconds, expect_continue=False), posts)
        measure_peak()
    memory = [
        RoundValues("VmHWM since its start", "MB", [held]),
        RoundValues("VmRSS, the most sampled", "MB", [watch.peak]),
        RoundValues("VmRSS with clients that send blindly", "MB", [blind_watch.peak]),
    ]
    return [_row(peak, expecting, blind), ReportRow(10, held, memory)]


def _row(peaks: list[float], expecting: LoadResult, blind: LoadResult) -> ReportRow:
    """Compare clients that wait for 100 Continue, and those that send bodies without waiting, with the peak."""
    peak = RoundValues("peak before, between and after", "images/s", peaks)
    offered = expecting.due / expecting.seconds
    measures = [
        peak,
        RoundValues("offered", "images/s", [offered]),
        RoundValues("answered 200", "images/s", [expecting.in_time / expecting.seconds]),
        RoundValues("answered 200 to clients that send blindly", "images/s", [blind.in_time / blind.seconds]),
    ]
    notes = [f"asking first: {_counts(expecting)}", f"sending blindly: {_counts(blind)}"]
    share = expecting.in_time / expecting.seconds / peak.median
    return ReportRow(9, share, measures, notes, expecting.fault)


def _counts(result: LoadResult) -> str:
    answered = ", ".join(f"{count} x {status}" for status, count in sorted(result.statuses.items()))
    failed = "".join(f", {count} {name}" for name, count in sorted(result.failures.items()))
    early = sum(result.early.values())
    return (
        f"{result.due} due, {answered}{failed}; {early} answered before the body was sent, "
        f"{result.continue_timeouts} without 100 Continue within a second, "
        f"{result.wasted / 1e6:.0f} MB sent in vain; generator {result.cpu / result.seconds:.0%} of a core, "
        f"late by {result.lag:.0f} ms at most"
    )
