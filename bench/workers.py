"""Measure several worker processes against one: images/s of `lensgate serve --workers N` in turns with one process.

    python -m bench.workers [--workers 2] [--faces samples] [--seconds 8] [--rounds 5]

wrk sends PNG files and single tensors of the model's size over a number of connections for each worker. It shares the
cores with the service, so only the ratios say something.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from bench.metrics import read_samples, total
from bench.serving.posts import Post, image_post, pixels_post, read_pictures
from bench.serving.processes import Running, running
from bench.serving.wrk import drive
from bench.turns import alternate
from gate import ModelStore

CONNECTIONS = 8
"""Connections for each worker."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.workers")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--faces", type=Path, default=Path("samples"))
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    size = ModelStore(Path("models")).load().card.input.size
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    kinds = {
        "PNG": [image_post("/v1/decisions", data) for data in read_pictures(options.faces)],
        "tensor": [pixels_post(pixels, binary_answer=False)],
    }
    with ExitStack() as stack:
        servers = {count: stack.enter_context(_serve(count, stack)) for count in (1, options.workers)}
        for name, posts in kinds.items():
            _compare(name, posts, servers, options)
    return 0


def _compare(name: str, posts: Sequence[Post], servers: Mapping[int, Running], options: argparse.Namespace) -> None:
    def turn(server: Running) -> float:
        connections = CONNECTIONS * options.workers
        return drive(server.port, posts, seconds=options.seconds, connections=connections).rate

    turns = {str(count): partial(turn, server) for count, server in servers.items()}
    measured = alternate(turns, rounds=options.rounds)
    for count, rates in measured.items():
        print(f"{name:7} {count} at work {statistics.median(rates):8.1f} requests/s ({_range(rates, '.0f')})")
    ratios = [several / one for one, several in zip(*measured.values(), strict=True)]
    print(
        f"{name:7} ratio {statistics.median(ratios):.2f} ({_range(ratios, '.2f')}), median of {options.rounds} rounds"
    )


def _range(values: Sequence[float], form: str) -> str:
    return f"{min(values):{form}} to {max(values):{form}}"


def _serve(workers: int, stack: ExitStack) -> AbstractContextManager[Running]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    environment = {
        **os.environ,
        "LENSGATE_MODELS": str(Path("models").resolve()),
        "LENSGATE_RECORDS_URL": "off",
        "LENSGATE_LOG_LEVEL": "warning",
        "LENSGATE_MAX_SHARE_PER_CALLER": "1",
    }

    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "lensgate", "serve", "--port", str(port), "--workers", str(workers)]

    return running(command, partial(_are_up, workers), environment=environment, folder=folder)


def _are_up(workers: int, port: int) -> bool:
    try:
        return total(read_samples(port), "lensgate_worker_up") == workers
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
