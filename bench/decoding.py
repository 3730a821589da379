"""Bytes to pixels, on one core and on all: the gate's decoder against alternatives.

    python -m bench.decoding ../shared/faces/originals

Every contender decodes the same images and shrinks them to the current model's input size by area averaging, except for
libpng alone, which only decodes. The contenders alternate. One thread is measured by its processor time, which other
programs hardly change, and all cores by the clock; a ratio is one of medians of processor time.

Other decoders publish their speed relative to libpng. The last lines compare with these figures, which come from other
machines, files and builds of libpng, and are for decoding alone.
"""

import io
import platform
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from bench.arguments import read_places
from bench.libpng import NAME as LIBPNG
from bench.libpng import Libpng
from bench.needs import require
from bench.serving.posts import encode
from gate import ModelStore, area_average, read_pixels
from gate.cores import usable_cores
from gate.default_models import default_models
from gate.formats.png.fast_decoder import ACCELERATED

_MEMORY_SAFE = "https://www.reddit.com/r/rust/comments/1ha7uyi/"
_WUFFS = "https://nigeltao.github.io/blog/2021/fastest-safest-png-decoder.html"
PUBLISHED = (
    ("image-png", "1.80", "Zen 4, QOI corpus, zlib-ng in libpng: 375.4 of 208.9 MP/s", _MEMORY_SAFE),
    ("image-png", "1.52", "Apple silicon, the same: 256.1 of 168.9 MP/s", _MEMORY_SAFE),
    ("Wuffs", "1.80", "Zen 4, the same: 376.2 of 208.9 MP/s", _MEMORY_SAFE),
    ("Wuffs", "1.51", "Apple silicon, the same: 255.1 of 168.9 MP/s", _MEMORY_SAFE),
    ("Wuffs", "1.22 to 2.75", "its own files, x86-64, 2021", _WUFFS),
)
"""Name, times libpng, circumstances and source."""

ROUNDS = 6
PICTURES = 12
LIBPNG_ALONE = "libpng, without shrinking"

Decode = Callable[[bytes], object]


@dataclass
class DecodeContender:
    """A decoder for one format, with its seconds per image in each round: processor time alone, and together."""

    format: str
    name: str
    decode: Decode
    bodies: Sequence[bytes]
    alone: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)


def pillow_box(data: bytes, *, size: int) -> object:
    """The usual code with Pillow."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def whole(decoder: Callable[[bytes], np.ndarray], *, size: int) -> Decode:
    """A decoder used directly, with the gate's area averaging."""
    return lambda data: area_average(decoder(data), size)


def contenders(pictures: Sequence[bytes], *, size: int) -> list[DecodeContender]:
    """Return all contenders; the first of each format is the gate, the baseline. `size` is the model's."""
    libpng = Libpng()
    ours, pillow = partial(read_pixels, size=size), partial(pillow_box, size=size)
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in pictures]
    jpeg = [encode(image, "JPEG", quality=92) for image in images]
    webp = [encode(image, "WEBP", quality=90) for image in images]
    return [
        DecodeContender("png", f"gate ({_png_path()})", ours, pictures),
        DecodeContender("png", "Pillow", pillow, pictures),
        DecodeContender("png", f"libpng {libpng.version}", whole(libpng, size=size), pictures),
        DecodeContender("png", LIBPNG_ALONE, libpng, pictures),
        DecodeContender("jpeg", "gate (DCT-scaled)", ours, jpeg),
        DecodeContender("jpeg", "libjpeg-turbo, whole", whole(simplejpeg.decode_jpeg, size=size), jpeg),
        DecodeContender("jpeg", "Pillow", pillow, jpeg),
        DecodeContender("webp", "gate (libwebp)", ours, webp),
        DecodeContender("webp", "Pillow", pillow, webp),
    ]


def main(folder: Path) -> int:
    """Measure and print."""
    require(libraries=[LIBPNG])
    pictures = [path.read_bytes() for path in sorted(folder.glob("*.png"))[:PICTURES]]
    if not pictures:
        print(f"there are no PNG files in {folder}", file=sys.stderr)
        return 1
    cores = usable_cores()
    size = ModelStore(default_models()).load().card.input.size
    lines = contenders(pictures, size=size)
    with ThreadPoolExecutor(cores) as pool:
        for turn in range(ROUNDS + 1):  # The first round warms caches and is dropped below.
            # In alternating order: the first contender pays for page faults from which the next one benefits.
            for line in lines if turn % 2 else reversed(lines):
                line.alone.append(_seconds(map, line, clock=time.thread_time))
                line.together.append(_seconds(pool.map, line, clock=time.perf_counter))
    machine = platform.processor() or platform.machine()
    print(f"{len(pictures)} pictures to {size} x {size} pixels, {ROUNDS} rounds, {cores} cores, {machine}")
    print(f"{'format':6} {'decoder':32} {'CPU ms':>9} {'ms all cores':>13} {'scaling':>8} {'gate is faster by':>18}")
    first: DecodeContender | None = None
    for line in lines:
        first = line if first is None or first.format != line.format else first
        alone, together = _median(line.alone), _median(line.together)
        ratio = alone / _median(first.alone)
        print(
            f"{line.format:6} {line.name:32} {alone * 1e3:9.2f} {together * 1e3:13.2f} "
            f"{alone / together:8.2f} {ratio:16.2f} x"
        )
    _print_published(lines)
    return 0


def _print_published(lines: Sequence[DecodeContender]) -> None:
    gate, libpng = (next(line for line in lines if line.name.startswith(name)) for name in ("gate", LIBPNG_ALONE))
    here = _median(libpng.alone) / _median(gate.alone)
    print(f"\nPNG, times the speed of libpng on one thread: gate {here:.2f} here, with shrinking, and zlib in libpng")
    for name, times, circumstances, source in PUBLISHED:
        print(f"  published: {name} {times} ({circumstances}) {source}")


def _png_path() -> str:
    return "libdeflate, own unfilter" if ACCELERATED else "Pillow"


def _seconds(
    run: Callable[[Decode, Sequence[bytes]], Iterable[object]], line: DecodeContender, *, clock: Callable[[], float]
) -> float:
    start = clock()
    deque(run(line.decode, line.bodies), maxlen=0)
    return (clock() - start) / len(line.bodies)


def _median(seconds: Sequence[float]) -> float:
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    sys.exit(main(*read_places("bench.decoding", __doc__, folder="folder of PNG files")))
