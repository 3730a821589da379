"""What a larger tensor costs: one image at 1, 2 and 3 times the model's input size, in turns against one service.

    python -m bench.serving.tensor_sizes

A larger tensor takes longer to receive and is shrunk by the service; the model's work is the same. The cost is the
service's processor time, which depends little on other load; with one request at a time every batch holds one image.
"""

import statistics
import sys
from functools import partial

import numpy as np

from bench.arguments import read_places
from bench.scaling.processor import seconds_of
from bench.serving.contenders import ROOT, lensgate
from bench.serving.posts import Post, pixels_post
from bench.serving.processes import Running
from bench.serving.wrk import drive
from bench.turns import alternate
from gate import ModelStore

MULTIPLES = (1, 2, 3)
ROUNDS = 5
SECONDS = 2


def main() -> int:
    """Print the cost of each size and the median of its ratios to the smallest in the same round."""
    size = ModelStore(ROOT / "models").load().card.input.size
    edges = [multiple * size for multiple in MULTIPLES]
    noise = np.random.default_rng(0)
    posts = {
        edge: pixels_post(noise.integers(0, 256, (1, edge, edge, 3), np.uint8), binary_answer=False) for edge in edges
    }
    picture = sorted((ROOT / "samples").glob("*.png"))[0].read_bytes()
    with lensgate().running(picture) as server:
        turns = {str(edge): partial(_milliseconds, server, post) for edge, post in posts.items()}
        costs = alternate(turns, rounds=ROUNDS)
    for edge, post in posts.items():
        ratios = [one / base for one, base in zip(costs[str(edge)], costs[str(size)], strict=True)]
        cost = statistics.median(costs[str(edge)])
        print(f"{edge:5} px {len(post.body) / 1e3:7.1f} kB {cost:7.3f} ms an image {statistics.median(ratios):6.2f}")
    return 0


def _milliseconds(server: Running, post: Post) -> float:
    before = seconds_of(server.pid)
    load = drive(server.port, [post], seconds=SECONDS, connections=1)
    return 1e3 * (seconds_of(server.pid) - before) / load.requests


if __name__ == "__main__":
    read_places("bench.serving.tensor_sizes", __doc__)
    sys.exit(main())
