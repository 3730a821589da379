"""Measure `lensgate bulk`: throughput relative to the cores, growth of memory, and Ray's engine against the local one.

    python -m bench.bulk --images ../shared/faces/originals

PNG files, repeated by hard links. The limit is a plain thread pool on all cores that reads, hashes, decodes and scores
the same files with the same model, without output; the next line shows the cost of the hash. All contenders alternate,
so a busy machine slows all of them equally; a share is a ratio of medians. Start-up is excluded: each turn includes a
short run of a few images, and the difference counts. `core ms` is processor time per image. Memory is the peak of a
separate process, over JPEG files, which are faster; `--full` uses PNG files there too.
"""

import argparse
import hashlib
import importlib
import importlib.util
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from bench.serving.contenders import PICTURES
from bench.serving.posts import as_jpeg, read_pictures
from bench.turns import alternate
from bulk.engines.engine import Engine
from bulk.engines.local import LocalEngine
from bulk.progress import Progress
from bulk.run import run
from bulk.settings import Settings
from bulk.sources.source import open_source
from gate import ModelStore, read_pixels
from gate.cores import usable_cores
from gate.scorer import Scorer

WANTED, RAY_WANTED, MEMORY_WANTED = 0.9, 0.7, 1.1
FEW = 64
_BATCH = 32
_CORES = usable_cores()
# The system counts the parent's memory in the peak of a child process; this is the child's own peak.
_REPORTING = """
import pathlib, sys
from lensgate.cli import main
status = main(sys.argv[1:])
print(pathlib.Path("/proc/self/status").read_text())
sys.exit(status)
"""


@dataclass
class _BulkContender:
    """A way to classify all images of a folder, the contender to compare it with, and its turns."""

    judge: Callable[[Path], None]
    against: str = ""
    wanted: float | None = None
    is_here: bool = True
    seconds: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)

    def turn(self, few: Path, many: Path) -> None:
        """Classify both folders, and record by how much longer the second took."""
        marks = [(time.perf_counter(), time.process_time())]
        for folder in (few, many):
            self.judge(folder)
            marks.append((time.perf_counter(), time.process_time()))
        (start, spent), (middle, spent_few), (end, spent_many) = marks
        self.seconds.append((end - middle) - (middle - start))
        self.spent.append((spent_many - spent_few) - (spent_few - spent))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if an aim is missed."""
    options = _parser().parse_args(arguments)
    pictures = read_pictures(options.images)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        folder = Path(scratch)
        fast = _measure_speed(folder, pictures, images=options.count, rounds=options.rounds)
        print()
        flat = _measure_memory(folder, pictures if options.full else as_jpeg(pictures), options.count)
    return int(not (fast and flat))


def contenders() -> dict[str, _BulkContender]:
    """Return the contenders in display order; Ray's engine only if Ray is installed."""
    ways = {
        "limit of the cores": _BulkContender(_limit),
        "without its SHA-256": _BulkContender(lambda folder: _limit(folder, hashes=False), "limit of the cores"),
        "--engine local": _BulkContender(lambda folder: _run(folder, LocalEngine), "limit of the cores", WANTED),
    }
    if importlib.util.find_spec("ray"):
        ways["--engine ray"] = _BulkContender(
            lambda folder: _run(folder, _make_ray), "--engine local", RAY_WANTED, is_here=False
        )
    return ways


def _measure_speed(scratch: Path, pictures: Sequence[bytes], *, images: int, rounds: int) -> bool:
    few, many = (_repeat(pictures, scratch / f"{count}-png", count) for count in (FEW, FEW + images))
    lines = contenders()
    alternate({title: partial(line.turn, few, many) for title, line in lines.items()}, rounds=rounds)
    print(f"{images} PNG, {_CORES} cores".ljust(24) + f"{'images/s':>10}{'core ms':>9}{'share':>8}{'wanted':>8}  of")
    rates = {title: images / statistics.median(line.seconds) for title, line in lines.items()}
    met = True
    for title, line in lines.items():
        share = rates[title] / rates[line.against or title]
        wanted = f"{line.wanted:8.2f}" if line.wanted else f"{'-':>8}"
        spent = f"{statistics.median(line.spent) / images * 1e3:9.2f}" if line.is_here else f"{'-':>9}"
        print(f"{title:24}{rates[title]:10.1f}{spent}{share:8.3f}{wanted}  {line.against or '-'}", flush=True)
        met &= line.wanted is None or share >= line.wanted
    return met


def _measure_memory(scratch: Path, pictures: Sequence[bytes], images: int) -> bool:
    print(f"{'peak memory':24}{'MiB':>10}{'ratio':>17}{'wanted':>8}  of")
    peaks = []
    for count in (images, images * 10):
        source = _repeat(pictures, scratch / f"{count}-memory", count)
        peaks.append(_peak(source, scratch / f"{count}-out"))
        ratio = f"{peaks[1] / peaks[0]:17.3f}{MEMORY_WANTED:8.2f}  {images:,} images" if len(peaks) > 1 else ""
        print(f"{f'{count:,} images':24}{peaks[-1]:10.1f}{ratio}", flush=True)
    return peaks[1] <= MEMORY_WANTED * peaks[0]


def _repeat(pictures: Sequence[bytes], folder: Path, count: int) -> Path:
    """Create `count` hard links to the same files."""
    folder.mkdir()
    # The gate ignores file name suffixes.
    paths = [folder / f"face-{number:06d}.png" for number in range(count)]
    for path, data in zip(paths, pictures, strict=False):
        path.write_bytes(data)
    for number in range(len(pictures), count):
        paths[number].hardlink_to(paths[number % len(pictures)])
    return folder


def _limit(folder: Path, *, hashes: bool = True) -> None:
    scorer = Scorer(ModelStore(Path("models")).load(), device="cpu")

    def read(path: Path) -> np.ndarray:
        data = path.read_bytes()
        if hashes:
            hashlib.sha256(data).digest()
        return read_pixels(data, scorer.size)

    batch = []
    with ThreadPoolExecutor(_CORES) as pool:
        for pixels in pool.map(read, sorted(folder.iterdir())):
            batch.append(pixels)
            if len(batch) == _BATCH:
                scorer.score(np.stack(batch))
                batch = []
    if batch:
        scorer.score(np.stack(batch))


def _run(folder: Path, make_engine: Callable[[], Engine]) -> None:
    """Run the complete command, with a new output folder."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        settings = Settings.load({"src": str(folder), "dst": out, "device": "cpu"}, {})
        source = open_source(settings.src, settings.storage_options)
        run(source, settings.job(), make_engine, progress=Progress(io.StringIO()))


def _make_ray() -> Engine:
    engine: Engine = importlib.import_module("bulk.engines.ray.engine").RayEngine()
    return engine


def _peak(source: Path, out: Path) -> float:
    """Return the peak memory of the command in MiB."""
    command = ["bulk", str(source), str(out), "--device", "cpu", "--json"]
    ran = subprocess.run([sys.executable, "-c", _REPORTING, *command], check=True, capture_output=True, text=True)
    return int(ran.stdout.rpartition("VmHWM:")[2].split()[0]) / 1024


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.bulk")
    parser.add_argument("--images", type=Path, default=PICTURES, help="folder of PNG files")
    parser.add_argument("--count", type=int, default=2_000, help="images per turn (2000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (3)")
    parser.add_argument("--scratch", type=Path, help="folder for temporary output")
    parser.add_argument("--full", action="store_true", help="use PNG files for the memory too: takes minutes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
