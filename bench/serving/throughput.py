"""Rows 1 to 4: images/s relative to the bare cores, and against other servers."""

import http.client
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.serving.bench import Bench
from bench.serving.contenders import WITH_GATE_DECODER, Contender, lensgate, peer
from bench.serving.posts import as_jpeg
from bench.serving.processes import Running
from bench.serving.report import ReportRow, RoundValues
from bench.serving.wrk import drive

# A RuntimeError is a peer that cannot be installed or started, answers wrongly, or loses requests.
_FAILURES = (RuntimeError, OSError, ValueError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One row against the peers."""

    number: int
    decoder: str
    format: str


_COMPARISONS = (_Comparison(2, "usual", "PNG"), _Comparison(3, "gate", "PNG"), _Comparison(4, "usual", "JPEG"))


@dataclass(frozen=True, slots=True)
class _PairedRates:
    """Images/s of a peer and of the service in the same rounds."""

    title: str
    theirs: Sequence[float]
    ours: Sequence[float]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.theirs)


def share_of_cores(bench: Bench) -> ReportRow:
    """Row 1."""
    ours = lensgate()
    with ours.running(bench.pictures[0]) as server:
        turn = _turn(bench, ours, server, bench.pictures)
        rates = bench.alternate(
            {
                "in-process": lambda: bench.limit.rate(bench.pictures, threads=bench.cores, seconds=bench.seconds),
                "Lensgate": turn,
            }
        )
    measures = [
        RoundValues(f"in-process, {bench.cores} threads", "images/s", rates["in-process"]),
        RoundValues("Lensgate, PNG", "images/s", rates["Lensgate"]),
    ]
    share = measures[1].median / measures[0].median
    return ReportRow(1, share, measures)


def against_peers(bench: Bench, numbers: Sequence[int]) -> list[ReportRow]:
    """The requested rows among 2, 3 and 4. Each peer alternates with the service."""
    comparisons = [comparison for comparison in _COMPARISONS if comparison.number in numbers]
    pairs: dict[int, list[_PairedRates]] = {comparison.number: [] for comparison in comparisons}
    failures: dict[int, list[str]] = {comparison.number: [] for comparison in comparisons}
    pictures = {"PNG": bench.pictures, "JPEG": as_jpeg(bench.pictures)}
    for decoder in ("usual", "gate"):
        mine = [comparison for comparison in comparisons if comparison.decoder == decoder]
        names = [name for name in bench.names if decoder == "usual" or name in WITH_GATE_DECODER]
        for name in names if mine else ():
            try:
                measured = _measure_pair(
                    bench, name, {comparison.format: pictures[comparison.format] for comparison in mine}, decoder
                )
            except _FAILURES as error:
                print(f"{name} with {decoder}: not measured: {error}", file=sys.stderr, flush=True)
                for comparison in mine:
                    failures[comparison.number].append(f"{name} was not measured: {error}")
            else:
                for comparison in mine:
                    pairs[comparison.number].append(measured[comparison.format])
    return [_row(comparison, pairs[comparison.number], failures[comparison.number]) for comparison in comparisons]


def _measure_pair(
    bench: Bench, name: str, formats: dict[str, Sequence[bytes]], decoder: str
) -> dict[str, _PairedRates]:
    contender, ours = peer(name, decoder=decoder, model=bench.graph, folder=bench.peers), lensgate()
    with ours.running(bench.pictures[0]) as mine, contender.running(bench.pictures[0]) as theirs:
        turns: dict[str, Callable[[], float]] = {}
        for kind, pictures in formats.items():
            turns[f"theirs {kind}"] = _turn(bench, contender, theirs, pictures)
            turns[f"ours {kind}"] = _turn(bench, ours, mine, pictures)
        rates = bench.alternate(turns)
    pairs = {kind: _PairedRates(contender.name, rates[f"theirs {kind}"], rates[f"ours {kind}"]) for kind in formats}
    for kind, pair in pairs.items():
        print(f"{contender.name} with {decoder}, {kind}: {pair.ratio:.2f} x", file=sys.stderr, flush=True)
    return pairs


def _turn(bench: Bench, contender: Contender, server: Running, pictures: Sequence[bytes]) -> Callable[[], float]:
    """One turn of a contender, after a check of its responses and a warm-up."""
    contender.check(server.port, {data: bench.limit.probability(data) for data in pictures})
    posts = [contender.post(data) for data in pictures]
    drive(server.port, posts, seconds=bench.warm_seconds)

    def turn() -> float:
        try:
            return drive(server.port, posts, seconds=bench.seconds).rate
        except RuntimeError as error:
            raise RuntimeError(f"{contender.name}: {error}") from error

    return turn


def _row(comparison: _Comparison, pairs: Sequence[_PairedRates], failures: Sequence[str]) -> ReportRow:
    pairs = sorted(pairs, key=lambda pair: pair.ratio)
    measures = []
    for pair in pairs:
        measures.append(RoundValues(f"{pair.title}, {comparison.format}", "images/s", pair.theirs))
        measures.append(RoundValues(f"Lensgate beside {pair.title}, {comparison.format}", "images/s", pair.ours))
    notes = [", ".join(f"{pair.title} {pair.ratio:.2f} x" for pair in pairs), *failures]
    return ReportRow(comparison.number, min((pair.ratio for pair in pairs), default=None), measures, notes)
