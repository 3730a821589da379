"""Rows 1 to 4: images/s relative to the bare cores, and against other servers."""

import http.client
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.serving.bench import Bench
from bench.serving.contenders import TAKE_OURS, Contender, WrongAnswerError, lensgate, peer
from bench.serving.environments import InstallError
from bench.serving.posts import as_jpeg
from bench.serving.processes import Running, StartError
from bench.serving.report import ReportRow, RoundValues
from bench.serving.wrk import drive

_FAILURES = (InstallError, StartError, WrongAnswerError, RuntimeError, OSError, ValueError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class _Contest:
    """One row against the peers."""

    number: int
    decoder: str
    format: str


_CONTESTS = (_Contest(2, "usual", "PNG"), _Contest(3, "gate", "PNG"), _Contest(4, "usual", "JPEG"))


@dataclass(frozen=True, slots=True)
class _Duel:
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
        found = bench.alternate(
            {
                "in-process": lambda: bench.limit.rate(bench.pictures, threads=bench.cores, seconds=bench.seconds),
                "Lensgate": turn,
            }
        )
    measures = [
        RoundValues(f"in-process, {bench.cores} threads", "images/s", found["in-process"]),
        RoundValues("Lensgate, PNG", "images/s", found["Lensgate"]),
    ]
    share = measures[1].median / measures[0].median
    return ReportRow(1, share, measures)


def against_peers(bench: Bench, numbers: Sequence[int]) -> list[ReportRow]:
    """The requested rows among 2, 3 and 4. Each peer alternates with the service."""
    contests = [contest for contest in _CONTESTS if contest.number in numbers]
    duels: dict[int, list[_Duel]] = {contest.number: [] for contest in contests}
    failures: dict[int, list[str]] = {contest.number: [] for contest in contests}
    pictures = {"PNG": bench.pictures, "JPEG": as_jpeg(bench.pictures)}
    for decoder in ("usual", "gate"):
        mine = [contest for contest in contests if contest.decoder == decoder]
        names = [name for name in bench.names if decoder == "usual" or name in TAKE_OURS]
        for name in names if mine else ():
            try:
                found = _fight(bench, name, {contest.format: pictures[contest.format] for contest in mine}, decoder)
            except _FAILURES as error:
                print(f"{name} with {decoder}: not measured: {error}", file=sys.stderr, flush=True)
                for contest in mine:
                    failures[contest.number].append(f"{name} was not measured: {error}")
            else:
                for contest in mine:
                    duels[contest.number].append(found[contest.format])
    return [_row(contest, duels[contest.number], failures[contest.number]) for contest in contests]


def _fight(bench: Bench, name: str, formats: dict[str, Sequence[bytes]], decoder: str) -> dict[str, _Duel]:
    rival, ours = peer(name, decoder=decoder, model=bench.graph, folder=bench.peers), lensgate()
    with ours.running(bench.pictures[0]) as mine, rival.running(bench.pictures[0]) as theirs:
        turns: dict[str, Callable[[], float]] = {}
        for kind, pictures in formats.items():
            turns[f"theirs {kind}"] = _turn(bench, rival, theirs, pictures)
            turns[f"ours {kind}"] = _turn(bench, ours, mine, pictures)
        found = bench.alternate(turns)
    duels = {kind: _Duel(rival.name, found[f"theirs {kind}"], found[f"ours {kind}"]) for kind in formats}
    for kind, duel in duels.items():
        print(f"{rival.name} with {decoder}, {kind}: {duel.ratio:.2f} x", file=sys.stderr, flush=True)
    return duels


def _turn(bench: Bench, contender: Contender, server: Running, pictures: Sequence[bytes]) -> Callable[[], float]:
    """One turn of a contender, after a check of its answers and a warm-up."""
    contender.check(server.port, {data: bench.limit.probability(data) for data in pictures})
    posts = [contender.post(data) for data in pictures]
    drive(server.port, posts, seconds=bench.warm_seconds)

    def turn() -> float:
        try:
            return drive(server.port, posts, seconds=bench.seconds).rate
        except RuntimeError as error:
            raise RuntimeError(f"{contender.name}: {error}") from error

    return turn


def _row(contest: _Contest, duels: Sequence[_Duel], failures: Sequence[str]) -> ReportRow:
    duels = sorted(duels, key=lambda duel: duel.ratio)
    measures = []
    for duel in duels:
        measures.append(RoundValues(f"{duel.title}, {contest.format}", "images/s", duel.theirs))
        measures.append(RoundValues(f"Lensgate beside {duel.title}, {contest.format}", "images/s", duel.ours))
    notes = [", ".join(f"{duel.title} {duel.ratio:.2f} x" for duel in duels), *failures]
    return ReportRow(contest.number, min((duel.ratio for duel in duels), default=None), measures, notes)
