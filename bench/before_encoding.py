"""Measure what a generator saves if it gates on pixels before it encodes.

    python -m bench.before_encoding --images ../shared/faces/originals

Every step runs on the same decoded images, in turns: encoding as PNG with Pillow's default and at level 3, encoding as
JPEG, and a decision about the pixels. The processor time of a decision is that of the client, which shrinks the image,
and of the service together. The second table is the time of all images until one is kept, by the share of rejected
images: encoding before the gate encodes the rejected ones too.
"""

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import httpx
from lensgate_client import Gate, ImageFailed
from PIL import Image

from bench.scaling.processor import seconds_of
from bench.serving.contenders import PICTURES, lensgate
from bench.serving.posts import decode, read_pictures
from bench.turns import alternate
from gate.types import Pixels

ENCODINGS: dict[str, dict[str, object]] = {
    "PNG, Pillow's default": {"format": "PNG"},
    "PNG, level 3": {"format": "PNG", "compress_level": 3},
    "JPEG, quality 95": {"format": "JPEG", "quality": 95},
}
GATE = "gate on pixels"
REJECTED = (0.1, 0.3, 0.5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = _parser().parse_args(arguments)
    pictures = read_pictures(options.images)
    images = [decode(picture) for picture in islice(cycle(pictures), options.count)]
    with (
        lensgate().running(pictures[0]) as server,
        Gate(f"http://127.0.0.1:{server.port}", transport=httpx.HTTPTransport()) as gate,
    ):
        decide = partial(_decide, gate, images)
        decide()  # Connects, and loads what the first images need.
        turns: dict[str, Callable[[], float]] = {
            name: partial(_cost, partial(_encode, images, settings)) for name, settings in ENCODINGS.items()
        }
        turns[GATE] = partial(_cost, decide, server.pid)
        seconds = alternate(turns, rounds=options.rounds)
    _print({name: 1e3 * statistics.median(costs) / len(images) for name, costs in seconds.items()}, images[0].shape[0])
    return 0


def _cost(work: Callable[[], object], *pids: int) -> float:
    """Return the processor time of `work` in seconds, in this process and in `pids`."""
    before = time.process_time() + seconds_of(*pids)
    work()
    return time.process_time() + seconds_of(*pids) - before


def _encode(images: Sequence[Pixels], settings: dict[str, object]) -> None:
    for image in images:
        Image.fromarray(image).save(io.BytesIO(), **settings)  # type: ignore[arg-type]


def _decide(gate: Gate, images: Sequence[Pixels]) -> None:
    failed = [one for one in gate.decide_many(images) if isinstance(one, ImageFailed)]
    if failed:
        raise SystemExit(f"an image has no decision: {failed[0].detail}")


def _print(costs: dict[str, float], edge: int) -> None:
    gate = costs[GATE]
    print(f"{edge} x {edge}, CPU per image".ljust(28) + f"{'ms':>8}{'of the gate':>14}")
    for name, cost in costs.items():
        print(f"{name:28}{cost:8.1f}{cost / gate:14.1f}")
    heads = "".join(f"{f'{share:.0%} rejected':>16}" for share in REJECTED)
    print(f"\n{'saved of each kept image':28}{heads}")
    for name in ENCODINGS:
        shares = "".join(f"{_saved(costs[name], gate, share):16.0%}" for share in REJECTED)
        print(f"{name:28}{shares}")


def _saved(encoding: float, gate: float, rejected: float) -> float:
    """Return the share of the processor time that is saved if only accepted images are encoded.

    Both orders decide about the pixels of every image, so the comparison favours encoding first: it would also decode.
    """
    first = (encoding + gate) / (1 - rejected)
    return 1 - (gate / (1 - rejected) + encoding) / first


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.before_encoding")
    parser.add_argument("--images", type=Path, default=PICTURES, help="directory of image files")
    parser.add_argument("--count", type=int, default=16, help="images in one turn (16)")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (5)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
