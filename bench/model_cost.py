"""Compare the versions of a model: size of the graph and processor time of one image, alone and in batches of 32.

    python -m bench.model_cost [--models models] [--versions 2,3]

Times are those of one thread through the gate's scorer, taken in turns. They depend little on other load; across
machines only the ratios to the first version compare.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bench.turns import alternate
from gate import ModelStore
from gate.pixels import Pixels
from gate.scorer import Scorer

BATCHES = (1, 32)
ROUNDS = 15
IMAGES_PER_TURN = 256


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.model_cost", description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of models (models)")
    parser.add_argument("--versions", type=lambda text: text.split(","), help="versions, the first is the base (all)")
    options = parser.parse_args(arguments)
    store = ModelStore(options.models)
    versions = options.versions or store.versions()
    models = {version: store.load(version) for version in versions}
    scorers = {version: Scorer(model, device="cpu") for version, model in models.items()}
    random = np.random.default_rng(0)
    images = {
        version: random.integers(0, 256, (IMAGES_PER_TURN, one.size, one.size, 3), np.uint8)
        for version, one in scorers.items()
    }
    print_costs({version: len(model.graph) for version, model in models.items()}, scorers, images)
    return 0


def print_costs(sizes: Mapping[str, int], scorers: Mapping[str, Scorer], images: Mapping[str, Pixels]) -> None:
    """Print kilobytes, milliseconds an image and their ratio to the first row, for each size of a batch.

    Args:
        sizes: bytes of each graph.
        scorers: its scorer, under the same name.
        images: its images, uint8 `[N, S, S, 3]`, under the same name.
    """
    print(f"\n{'':14} {'kB':>7}" + "".join(f" {f'ms, batch {batch}':>14} {'ratio':>6}" for batch in BATCHES))
    columns = [
        alternate(
            {name: partial(milliseconds, one, images[name], batch) for name, one in scorers.items()}, rounds=ROUNDS
        )
        for batch in BATCHES
    ]
    base = next(iter(scorers))
    for name, size in sizes.items():
        row = f"{name:14} {size / 1e3:7.0f}"
        for times in columns:
            ratio = statistics.median(one / first for one, first in zip(times[name], times[base], strict=True))
            row += f" {statistics.median(times[name]):14.3f} {ratio:6.2f}"
        print(row)


def milliseconds(scorer: Scorer, images: Pixels, batch: int) -> float:
    """Return milliseconds of processor time for an image in batches of `batch`; the first run is not counted."""
    count = max(1, min(IMAGES_PER_TURN, len(images)) // batch)
    parts = [images[index * batch : (index + 1) * batch] for index in range(count)]
    scorer.run(parts[0])
    started = time.thread_time()
    for part in parts:
        scorer.run(part)
    return 1e3 * (time.thread_time() - started) / sum(map(len, parts))


if __name__ == "__main__":
    sys.exit(main())
