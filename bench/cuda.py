"""Compare a CUDA device with the CPU: the outputs, and the time per image.

    python -m bench.cuda --images ../shared/faces/faces

Needs the extra `gpu` and an NVIDIA GPU. Both scorers get the same pixels in the same batches, alternately; the CPU uses
one thread, as in the service. The golden samples of the model's card are checked first, as at every start.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.serving.contenders import ROOT
from bench.turns import alternate
from gate import Card, ModelStore, read_pixels
from gate.golden import CUDA_TOLERANCE, open_scorer
from gate.header import IMAGE_ENDINGS
from gate.pixels import Pixels
from gate.scorer import Score, Scorer
from gate.types import Device

BATCHES = (1, 8, 32, 128)
"""The service's batch sizes are powers of two up to `LENSGATE_MAX_BATCH_SIZE`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, measure and print; 1 if the two differ by more than the tolerance of golden samples."""
    options = _parser().parse_args(arguments)
    model = ModelStore(ROOT / "models").load()
    cpu, device = (open_scorer(model, device=name, max_batch_size=max(BATCHES)) for name in ("cpu", options.device))
    print(f"golden samples pass on {cpu.provider} and {device.provider}")
    images = _read(options.images, cpu.size, options.count)
    difference = _compare(cpu, device, images, card=model.card)
    print(f"{'images a batch':16}{'CPU ms':>10}{'device ms':>11}{'ratio':>8}   each of one image")
    for count in BATCHES:
        _measure(cpu, device, np.resize(images, (count, *images.shape[1:])), rounds=options.rounds)
    return int(difference > CUDA_TOLERANCE)


def _read(folder: Path, size: int, count: int) -> Pixels:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)[:count]
    if not files:
        raise SystemExit(f"there is no PNG, JPEG or WebP in {folder}")
    return np.stack([read_pixels(path.read_bytes(), size) for path in files])


def _compare(cpu: Scorer, device: Scorer, images: Pixels, *, card: Card) -> float:
    """Print the differences; return the largest difference of a probability."""
    pairs = list(zip(_scores(cpu, images), _scores(device, images), strict=True))
    apart = np.array([abs(one.probability - other.probability) for one, other in pairs])
    novelty = np.array([_relative(one.novelty, other.novelty) for one, other in pairs])
    otherwise = sum(_decided(one, card) != _decided(other, card) for one, other in pairs)
    print(f"of {len(images)} images {otherwise} are decided otherwise; the scores differ by")
    print(f"{'':16}{'median':>10}{'99 %':>11}{'most':>10}")
    print(f"{'probability':16}{_spread(apart)}")
    print(f"{'novelty':16}{_spread(novelty)}   of its value, or of 1 if the value is less")
    return float(apart.max())


def _scores(scorer: Scorer, images: Pixels) -> list[Score]:
    parts = np.array_split(images, -(-len(images) // max(BATCHES)))
    return [score for part in parts for score in scorer.score(part).each()]


def _relative(first: float | None, second: float | None) -> float:
    return 0.0 if first is None or second is None else abs(first - second) / max(1.0, abs(first))


def _decided(score: Score, card: Card) -> str:
    return card.decide(score.probability, score.novelty, band=card.band.changed()).reason


def _spread(values: NDArray[np.float64]) -> str:
    return f"{np.median(values):10.1e}{np.quantile(values, 0.99):11.1e}{values.max():10.1e}"


def _measure(cpu: Scorer, device: Scorer, batch: Pixels, *, rounds: int) -> None:
    turns = {name: partial(_milliseconds, scorer, batch) for name, scorer in (("cpu", cpu), ("device", device))}
    cpu_ms, device_ms = map(statistics.median, alternate(turns, rounds=rounds).values())
    print(f"{len(batch):<16}{cpu_ms:10.4f}{device_ms:11.4f}{cpu_ms / device_ms:8.1f}", flush=True)


def _milliseconds(scorer: Scorer, batch: Pixels) -> float:
    """Return the time per image of the fastest of three runs, to exclude other load of the machine."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        scorer.score(batch)
        seconds.append(time.perf_counter() - started)
    return min(seconds) / len(batch) * 1e3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.cuda")
    parser.add_argument("--images", type=Path, default=ROOT / "samples", help="folder of images (samples/)")
    parser.add_argument("--count", type=int, default=1_000, help="limit of compared images (1,000)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds (9)")
    devices: tuple[Device, ...] = ("cuda", "cpu")
    parser.add_argument("--device", choices=devices, default="cuda", help="cpu compares the CPU with itself")
    return parser


if __name__ == "__main__":
    sys.exit(main())
