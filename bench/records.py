"""The cost of recording decisions: images/s at full load with records on, as a share of the rate with records off.

    python -m bench.records --images ../shared/faces/originals

PNG and JPEG files, 16 connections; two servers alternate. At full load recording skips work; the last columns show the
shares of decisions written, of their images hashed, and of discarded images with a preview. In the last row every image
is discarded.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.metrics import read_samples, total
from bench.serving.contenders import PICTURES, Contender, lensgate
from bench.serving.posts import Post, as_jpeg, read_pictures
from bench.serving.processes import Running
from bench.serving.wrk import drive
from bench.turns import alternate

WANTED = 0.95
_OFF = {"LENSGATE_RECORDS_URL": "off"}
_DISCARD = {"LENSGATE_BAND_LOW": "0", "LENSGATE_BAND_HIGH": "1"}
_WARM_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _OnOffPair:
    """One setting with records off and on, and whether the aim applies to it."""

    title: str
    off: Contender
    on: Contender
    jpeg: bool = False
    has_aim: bool = True


PAIRS = (
    _OnOffPair("PNG", lensgate("off", _OFF), lensgate("on")),
    _OnOffPair("JPEG", lensgate("off", _OFF), lensgate("on"), jpeg=True),
    _OnOffPair("PNG, all discarded", lensgate("off", _OFF | _DISCARD), lensgate("on", _DISCARD), has_aim=False),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if the aim is missed."""
    options = _parser().parse_args(arguments)
    pictures = read_pictures(options.images)
    columns = {"off": 8, "on": 8, "share": 8, "wanted": 8, "written": 9, "hashed": 8, "pictures": 10}
    print("images/s, records".ljust(20) + "".join(name.rjust(width) for name, width in columns.items()))
    shares = [_measure(pair, pictures, seconds=options.seconds, rounds=options.rounds) for pair in PAIRS]
    return int(any(share < WANTED for share, pair in zip(shares, PAIRS, strict=True) if pair.has_aim))


def _measure(pair: _OnOffPair, pictures: Sequence[bytes], *, seconds: float, rounds: int) -> float:
    sent = as_jpeg(pictures) if pair.jpeg else pictures
    posts = [pair.on.post(data) for data in sent]
    with ExitStack() as stack:
        servers = [stack.enter_context(one.running(sent[0])) for one in (pair.off, pair.on)]
        for server in servers:
            drive(server.port, posts, seconds=min(_WARM_SECONDS, seconds))
        turns = {
            name: partial(_rate, server, posts, seconds) for name, server in zip(("off", "on"), servers, strict=True)
        }
        off, on = map(statistics.median, alternate(turns, rounds=rounds).values())
        wanted = f"{WANTED:.2f}" if pair.has_aim else "-"
        print(f"{pair.title:20}{off:8.1f}{on:8.1f}{on / off:8.3f}{wanted:>8}{_recorded(servers[1])}", flush=True)
    return on / off


def _rate(server: Running, posts: Sequence[Post], seconds: float) -> float:
    return drive(server.port, posts, seconds=seconds).rate


def _recorded(server: Running) -> str:
    """Return the columns after the rates."""
    samples = read_samples(server.port)
    decided = total(samples, "lensgate_decisions_total")
    discarded = total(samples, "lensgate_decisions_total", decision="discard")
    written, hashed, pictures = (
        total(samples, f"lensgate_{name}_total", result="written")
        for name in ("records", "record_hashes", "record_images")
    )
    return f"{written / decided:9.3f}{hashed / decided:8.3f}{pictures / max(1.0, discarded):10.3f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.records")
    parser.add_argument("--images", type=Path, default=PICTURES, help="folder of PNG files")
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds per turn (8)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (5)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
