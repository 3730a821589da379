"""What the client gains a generator: images a second of pixels that it shrinks where they are, and of the same as PNG.

    python -m bench.client --images ../shared/faces/originals

One server with its records on, one client with the same connections for all; the ways to send take turns. Before that,
what shrinking alone takes, on one thread and on as many as the client has.
"""

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from lensgate_client import Decision, Gate, Outcome
from lensgate_client._pixels.raster import open_raster
from lensgate_client._pixels.shrink import THREADS, Pixels
from PIL import Image

from bench.serving.contenders import PICTURES, lensgate
from bench.serving.posts import read_pictures
from bench.turns import alternate

WANTED = 5.0
BATCH = 32
_BATCHES = 4
"""Of pixels in one call, so that the next is shrunk while one is judged."""
_COLUMNS = {"PNG": 9, "pixels": 9, "ratio": 8, "wanted": 8}


@dataclass(frozen=True, slots=True)
class _Way:
    """Images as one call of `decide_many` is given them, and whether the aim is for them."""

    title: str
    images: Sequence[Any]
    has_aim: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if the aim is missed."""
    options = _parser().parse_args(arguments)
    pictures = read_pictures(options.images)
    chosen = list(islice(cycle(pictures), BATCH))
    batch = np.stack(list(islice(cycle(map(_decode, pictures)), BATCH)))
    _print_shrinking(batch, rounds=options.rounds)
    files = _Way("PNG", chosen)
    ways = [
        _Way(f"batches of {BATCH}", [batch] * _BATCHES, has_aim=True),
        _Way("one by one", list(batch) * _BATCHES),
    ]
    with (
        lensgate().running(pictures[0]) as server,
        Gate(
            f"http://127.0.0.1:{server.port}", concurrency=options.connections, transport=httpx.HTTPTransport()
        ) as gate,
    ):
        _check(gate, chosen, batch)
        turns = {way.title: partial(_rate, gate, way, seconds=options.seconds) for way in (files, *ways)}
        found = _warmed(turns, rounds=options.rounds)
    print(f"images/s, {options.connections} connections".ljust(24) + "".join(n.rjust(w) for n, w in _COLUMNS.items()))
    ratios = [_print_row(way, found[files.title], found[way.title]) for way in ways]
    return int(any(ratio < WANTED for ratio, way in zip(ratios, ways, strict=True) if way.has_aim))


def _print_shrinking(batch: Pixels, *, rounds: int) -> None:
    raster, size = open_raster(batch), 64
    with ThreadPoolExecutor(THREADS) as threads:
        turns = {
            "1 thread": lambda: _milliseconds(lambda: raster.shrink(0, BATCH, size=size)),
            f"{THREADS} threads": lambda: _milliseconds(lambda: raster.shrink(0, BATCH, size=size, executor=threads)),
        }
        found = _warmed(turns, rounds=rounds)
    edge = batch.shape[1]
    shown = ", ".join(f"{statistics.median(values):.2f} on {name}" for name, values in found.items())
    print(f"{edge} x {edge} to {size} x {size}, ms an image: {shown}")


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / BATCH * 1e3


def _warmed(turns: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """Every turn once to warm up, then in turns."""
    for turn in turns.values():
        turn()
    return alternate(turns, rounds=rounds)


def _rate(gate: Gate, way: _Way, *, seconds: float) -> float:
    """Images a second over at least `seconds`."""
    start = time.perf_counter()
    count = 0
    while (elapsed := time.perf_counter() - start) < seconds or not count:
        count += len(_decided(gate.decide_many(way.images)))
    return count / elapsed


def _check(gate: Gate, files: Sequence[bytes], batch: Pixels) -> None:
    """Pixels and files are decided alike, or there would be nothing to compare."""
    by_file, by_pixels = _decided(gate.decide_many(files)), _decided(gate.decide_many(batch))
    if [one.decision for one in by_file] != [one.decision for one in by_pixels]:
        raise SystemExit("the same images are decided in two ways")


def _decided(outcomes: Sequence[Outcome]) -> list[Decision]:
    found = [outcome for outcome in outcomes if isinstance(outcome, Decision)]
    if len(found) != len(outcomes):
        raise SystemExit(f"not every image was decided: {next(one for one in outcomes if one not in found)}")
    return found


def _print_row(way: _Way, files: Sequence[float], pixels: Sequence[float]) -> float:
    png, own = statistics.median(files), statistics.median(pixels)
    wanted = f"{WANTED:.1f}" if way.has_aim else "-"
    print(f"{way.title:24}{png:9.1f}{own:9.1f}{own / png:8.2f}{wanted:>8}", flush=True)
    return own / png


def _decode(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.client")
    parser.add_argument("--images", type=Path, default=PICTURES, help="folder of PNG files")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long one turn is (4)")
    parser.add_argument("--rounds", type=int, default=5, help="how often (5)")
    parser.add_argument("--connections", type=int, default=4, help="requests under way at a time (4)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
