"""Bytes to pixels, alone and on all cores: the gate's path against what else could be used.

    python -m bench.decoding ../shared/faces/originals

Every contender decodes the same pictures and shrinks them to 64 x 64 by area averaging. Rounds of all contenders
alternate, so that a busy machine slows all of them; a ratio is that of the medians.
"""

import io
import os
import platform
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from gate import area_average, read_pixels
from gate.formats.png.fast_decoder import ACCELERATED

SIZE = 64
ROUNDS = 6
PICTURES = 12

Decode = Callable[[bytes], object]


@dataclass
class Contender:
    """One way to decode one format, and its seconds an image in each round."""

    format: str
    name: str
    decode: Decode
    bodies: Sequence[bytes]
    alone: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)


def pillow_box(data: bytes) -> object:
    """What most people write."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX))


def whole(decoder: Callable[[bytes], np.ndarray]) -> Decode:
    """A decoder without tricks, shrunk by the gate's own area averaging."""
    return lambda data: area_average(decoder(data), SIZE)


def gate(data: bytes) -> object:
    """The product's path."""
    return read_pixels(data, SIZE)


def contenders(pictures: Sequence[bytes]) -> list[Contender]:
    """The first of each format is the gate, which the others are held against."""
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in pictures]
    jpeg = [_encode(image, "JPEG", quality=92) for image in images]
    webp = [_encode(image, "WEBP", quality=90) for image in images]
    return [
        Contender("png", f"gate ({_png_path()})", gate, pictures),
        Contender("png", "Pillow", pillow_box, pictures),
        Contender("jpeg", "gate (DCT-scaled)", gate, jpeg),
        Contender("jpeg", "libjpeg-turbo, whole", whole(simplejpeg.decode_jpeg), jpeg),
        Contender("jpeg", "Pillow", pillow_box, jpeg),
        Contender("webp", "gate (libwebp)", gate, webp),
        Contender("webp", "Pillow", pillow_box, webp),
    ]


def main(folder: Path) -> int:
    """Measure and print."""
    pictures = [path.read_bytes() for path in sorted(folder.glob("*.png"))[:PICTURES]]
    if not pictures:
        print(f"there are no PNG files in {folder}", file=sys.stderr)
        return 1
    cores = len(os.sched_getaffinity(0))
    lines = contenders(pictures)
    with ThreadPoolExecutor(cores) as pool:
        for turn in range(ROUNDS + 1):  # The first round warms caches and is dropped below.
            # Forth and back: who comes first pays for the pages that the next one finds.
            for line in lines if turn % 2 else reversed(lines):
                line.alone.append(_seconds(map, line))
                line.together.append(_seconds(pool.map, line))
    print(f"{len(pictures)} pictures, {ROUNDS} rounds, {cores} cores, {platform.processor() or platform.machine()}")
    print(f"{'format':6} {'decoder':32} {'ms alone':>9} {'ms all cores':>13} {'scaling':>8} {'gate is faster by':>18}")
    first: Contender | None = None
    for line in lines:
        first = line if first is None or first.format != line.format else first
        alone, together = _median(line.alone), _median(line.together)
        ratio = together / _median(first.together)
        print(
            f"{line.format:6} {line.name:32} {alone * 1e3:9.2f} {together * 1e3:13.2f} "
            f"{alone / together:8.2f} {ratio:16.2f} x"
        )
    return 0


def _png_path() -> str:
    return "libdeflate, own unfilter" if ACCELERATED else "Pillow"


def _encode(image: Image.Image, kind: str, *, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=quality)
    return buffer.getvalue()


def _seconds(run: Callable[[Decode, Sequence[bytes]], Iterable[object]], line: Contender) -> float:
    start = time.perf_counter()
    deque(run(line.decode, line.bodies), maxlen=0)
    return (time.perf_counter() - start) / len(line.bodies)


def _median(seconds: Sequence[float]) -> float:
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
