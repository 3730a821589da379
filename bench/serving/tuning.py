"""Which settings suit each peer on this machine: PNG images a second, every setting in turn.

    python -m bench.serving.tuning --rounds 3

The best settings become the defaults of the servers in `peers/`, so the comparison is with each at its best.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.serving.contenders import PICTURES, ROOT, peer
from bench.serving.posts import read_pictures
from bench.serving.wrk import drive
from gate import ModelStore

SETTINGS: dict[str, list[dict[str, str]]] = {
    "triton": [{}, {"PEER_BATCH": "1"}, {"PEER_BATCH": "8"}, {"PEER_WORKERS": "3"}],
    "mosec": [{}, {"PEER_WORKERS": "2"}, {"PEER_WORKERS": "4"}],
    "bentoml": [{}, {"PEER_WORKERS": "3"}, {"PEER_THREADS": "2"}, {"PEER_WORKERS": "1", "PEER_THREADS": "2"}],
    "ray": [
        {},
        {"PEER_ONGOING": "5"},
        {"PEER_WORKERS": "1"},
        {"RAY_SERVE_ENABLE_HA_PROXY": "0"},
        {"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"},
    ],
    "litserve": [{}, {"PEER_WORKERS": "3"}, {"PEER_FAST_QUEUE": "1"}, {"PEER_APIS": "2"}],
    "opencv": [{}, {"PEER_WORKERS": "3"}, {"PEER_WORKERS": "4"}],
}
"""Environment variables; `{}` is the default."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = _parser().parse_args(arguments)
    pictures = read_pictures(options.images)
    card = ModelStore(ROOT / "models").load().card
    graph = ROOT / "models" / card.name / card.version / "model.onnx"
    measured: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.rounds):
        for name in options.names.split(","):
            for settings in SETTINGS[name]:
                contender = peer(name, decoder="usual", model=graph, folder=options.peers, settings=settings)
                with contender.running(pictures[0]) as server:
                    posts = [contender.post(data) for data in pictures]
                    drive(server.port, posts, seconds=min(2.0, options.seconds))
                    rate = drive(server.port, posts, seconds=options.seconds).rate
                text = " ".join(f"{key}={value}" for key, value in settings.items()) or "as it is"
                measured.setdefault((name, text), []).append(rate)
    print(f"{'peer':10} {'settings':40} {'images/s':>9}  rounds")
    for (name, text), rates in measured.items():
        rounds = " ".join(f"{rate:.1f}" for rate in rates)
        print(f"{name:10} {text:40} {statistics.median(rates):9.1f}  {rounds}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.serving.tuning")
    parser.add_argument("--names", default=",".join(SETTINGS), help="peers with commas between (all)")
    parser.add_argument("--seconds", type=float, default=6.0, help="seconds per setting (6)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (3)")
    parser.add_argument("--images", type=Path, default=PICTURES, help="folder of PNG files")
    parser.add_argument("--peers", type=Path, default=ROOT / "runs/peers", help="the peers' environments (runs/peers)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
