"""Images to TFRecords: the rate of `lensgate train prepare` relative to decoding alone.

    python -m bench.preparing ../shared/faces/originals

Both decode the same images, repeated to `IMAGES`, to 32, 64 and 128 pixels: once without output, on one thread per
core, and once like the step, into shards with hashes, without the split and its table, which take milliseconds. Rounds
alternate; a share is a ratio of medians.
"""

import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.arguments import read_places
from gate import read_pixels_at
from gate.cores import usable_cores
from training.data.dataset import Example
from training.data.near_duplicates import group_near
from training.data.shards import SourceImage, write_blocks
from training.model.preset import SIZES

IMAGES = 300
ROUNDS = 3


def main(folder: Path) -> int:
    """Print both rates and the share; the exit status."""
    files = sorted(folder.glob("*.png"))
    if not files:
        print(f"there is no PNG file in {folder}", file=sys.stderr)
        return 1
    paths = [files[index % len(files)] for index in range(IMAGES)]
    bare, whole = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(ROUNDS):
            bare.append(IMAGES / _seconds_to_decode(paths))
            whole.append(IMAGES / _seconds_to_prepare(paths, Path(scratch) / str(number)))
    limit, reached = statistics.median(bare), statistics.median(whole)
    print(f"{IMAGES} PNG images of {len(files)} files to {', '.join(map(str, SIZES))} pixels, {usable_cores()} cores")
    print(f"decode alone      {limit:7.1f} images/s")
    print(f"prepare           {reached:7.1f} images/s  {reached / limit:.2f} of it")
    return 0


def _seconds_to_decode(paths: list[Path]) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(usable_cores()) as pool:
        for _ in pool.map(lambda path: read_pixels_at(path.read_bytes(), SIZES), paths):
            pass
    return time.perf_counter() - started


def _seconds_to_prepare(paths: list[Path], out: Path) -> float:
    items = [
        SourceImage("bench", Example(f"face-{index}", path, glasses=None), in_test=False)
        for index, path in enumerate(paths)
    ]
    started = time.perf_counter()
    blocks = write_blocks(items, out, sizes=SIZES)
    group_near([found.likeness for block in blocks for found in block.found])
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main(*read_places("bench.preparing", __doc__, folder="folder of PNG files")))
