"""Measure the client's throughput: pixels that it shrinks on their own device against the same images as PNG.

    python -m bench.client --images ../shared/faces/originals

All variants alternate on one server, with its records enabled, and one client with the same connections. The benchmark
first measures shrinking to the model's input size alone, on one thread and on the threads of the client.
"""

import argparse
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

from bench.serving.contenders import PICTURES, lensgate
from bench.serving.posts import decode, read_pictures
from bench.turns import alternate

TARGET_RATIO = 5.0
BATCH = 32
_BATCHES = 4
"""Batches in one call, so that the client shrinks the next while the gate scores one."""
_COLUMNS = {"PNG": 9, "pixels": 9, "ratio": 8, "target": 8}


@dataclass(frozen=True, slots=True)
class _Variant:
    """The images of one call of `decide_many`, and whether the target ratio applies to them."""

    title: str
    images: Sequence[Any]
    has_target: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 if the ratio misses its target."""
    options = _parser().parse_args(arguments)
    pictures = read_pictures(options.images)
    chosen = list(islice(cycle(pictures), BATCH))
    batch = np.stack(list(islice(cycle(map(decode, pictures)), BATCH)))
    files = _Variant("PNG", chosen)
    variants = [
        _Variant(f"batches of {BATCH}", [batch] * _BATCHES, has_target=True),
        _Variant("single images", list(batch) * _BATCHES),
    ]
    with (
        lensgate().running(pictures[0]) as server,
        Gate(
            f"http://127.0.0.1:{server.port}", concurrency=options.connections, transport=httpx.HTTPTransport()
        ) as gate,
    ):
        _check(gate, chosen, batch)
        _print_shrinking(batch, size=gate.model().size, rounds=options.rounds)
        turns = {each.title: partial(_rate, gate, each, seconds=options.seconds) for each in (files, *variants)}
        rates = _alternate_warm(turns, rounds=options.rounds)
    print(f"images/s, {options.connections} connections".ljust(24) + "".join(n.rjust(w) for n, w in _COLUMNS.items()))
    ratios = [_print_row(each, rates[files.title], rates[each.title]) for each in variants]
    return int(any(ratio < TARGET_RATIO for ratio, each in zip(ratios, variants, strict=True) if each.has_target))


def _print_shrinking(batch: Pixels, *, size: int, rounds: int) -> None:
    raster = open_raster(batch)
    with ThreadPoolExecutor(THREADS) as threads:
        turns = {
            "1 thread": lambda: _milliseconds(lambda: raster.shrink(0, BATCH, size=size)),
            f"{THREADS} threads": lambda: _milliseconds(lambda: raster.shrink(0, BATCH, size=size, executor=threads)),
        }
        times = _alternate_warm(turns, rounds=rounds)
    edge = batch.shape[1]
    medians = ", ".join(f"{statistics.median(values):.2f} on {name}" for name, values in times.items())
    print(f"{edge} x {edge} to {size} x {size}, ms per image: {medians}")


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / BATCH * 1e3


def _alternate_warm(turns: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """Run every turn once to warm up, then alternate."""
    for turn in turns.values():
        turn()
    return alternate(turns, rounds=rounds)


def _rate(gate: Gate, variant: _Variant, *, seconds: float) -> float:
    """Return images per second over at least `seconds`."""
    start = time.perf_counter()
    count = 0
    while (elapsed := time.perf_counter() - start) < seconds or not count:
        count += len(_decisions(gate.decide_many(variant.images)))
    return count / elapsed


def _check(gate: Gate, files: Sequence[bytes], batch: Pixels) -> None:
    """Exit unless the decisions about pixels and files agree."""
    by_file, by_pixels = _decisions(gate.decide_many(files)), _decisions(gate.decide_many(batch))
    if [one.decision for one in by_file] != [one.decision for one in by_pixels]:
        raise SystemExit("the decisions about the same images differ between files and pixels")


def _decisions(outcomes: Sequence[Outcome]) -> list[Decision]:
    decisions = [outcome for outcome in outcomes if isinstance(outcome, Decision)]
    if len(decisions) != len(outcomes):
        raise SystemExit(f"an image has no decision: {next(one for one in outcomes if one not in decisions)}")
    return decisions


def _print_row(variant: _Variant, files: Sequence[float], pixels: Sequence[float]) -> float:
    png, own = statistics.median(files), statistics.median(pixels)
    target = f"{TARGET_RATIO:.1f}" if variant.has_target else "-"
    print(f"{variant.title:24}{png:9.1f}{own:9.1f}{own / png:8.2f}{target:>8}", flush=True)
    return own / png


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.client")
    parser.add_argument("--images", type=Path, default=PICTURES, help="directory of PNG files")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one turn in seconds (4)")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (5)")
    parser.add_argument("--connections", type=int, default=4, help="requests in flight at a time (4)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
