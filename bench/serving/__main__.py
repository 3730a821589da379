"""The serving benchmark: eleven rows, each a ratio of figures from one run on this machine.

    python -m bench.serving --rows 1,2,9 --seconds 2

Prints a table, and writes `serving.csv` and `serving.png` into `--out`. The peers of rows 2 to 4 are installed into
`--peers` at the start of the first run, each into an environment of its own.
"""

import argparse
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import startup
from bench.needs import require
from bench.serving.aims import AIMS
from bench.serving.bench import Bench
from bench.serving.contenders import PEERS, PICTURES, ROOT, peer_versions
from bench.serving.environments import InstallError, python_of
from bench.serving.latency import added, busy
from bench.serving.limits import InProcess
from bench.serving.machine import describe
from bench.serving.overload import overload
from bench.serving.posts import read_pictures
from bench.serving.report import ReportRow, RoundValues, draw, write_csv
from bench.serving.tensors import batches, single
from bench.serving.throughput import against_peers, share_of_cores
from gate import ModelStore


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 whether or not the aims are met."""
    options = _parser().parse_args(arguments)
    require(programs=["wrk"], packages=["matplotlib", "starlette", "simplejpeg"])
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    model = ModelStore(ROOT / "models").load()
    graph = ROOT / "models" / model.card.name / model.card.version / "model.onnx"
    pictures = read_pictures(options.images)
    bench = Bench(pictures, InProcess(model), graph, options.peers, options.names, options.seconds, options.rounds)
    install_peers(bench, options.rows)
    rows = sorted(_measure(bench, options.rows), key=lambda row: row.number)
    head = [*describe(), peer_versions(), _setting(bench, model.card.version, time.monotonic() - began)]
    print("\n".join(head), f"row  {'':56} {'figure':>10}  {'aim':>8}  met", sep="\n")
    for row in rows:
        print("\n".join(row.lines()))
    write_csv(rows, options.out / "serving.csv")
    draw(rows, "\n".join(head), options.out / "serving.png")
    print(f"written: {options.out / 'serving.csv'}, {options.out / 'serving.png'}")
    return 0


def _measure(bench: Bench, numbers: Sequence[int]) -> list[ReportRow]:
    steps: list[tuple[set[int], Callable[[], list[ReportRow]]]] = [
        ({1}, lambda: [share_of_cores(bench)]),
        ({2, 3, 4}, lambda: against_peers(bench, numbers)),
        ({5}, lambda: [batches(bench)]),
        ({6}, lambda: [single(bench)]),
        ({7}, lambda: [added(bench)]),
        ({8}, lambda: [busy(bench)]),
        ({9, 10}, lambda: overload(bench)),
        ({11}, lambda: [_ready(bench)]),
    ]
    rows: list[ReportRow] = []
    for own, measure in steps:
        if own & set(numbers):
            print(f"measuring {' and '.join(map(str, sorted(own & set(numbers))))}", file=sys.stderr, flush=True)
            rows += _safely(measure, own & set(numbers))
    return [row for row in rows if row.number in numbers]


def install_peers(bench: Bench, numbers: Sequence[int]) -> None:
    """Install the peers that the rows need; one that cannot be installed is named now and again in its rows."""
    for name in bench.names if {2, 3, 4} & set(numbers) else ():
        try:
            python_of(name, bench.peers)
        except InstallError as error:
            print(f"{name} will not be measured: {error}", file=sys.stderr, flush=True)


def _safely(measure: Callable[[], list[ReportRow]], numbers: set[int]) -> list[ReportRow]:
    """A row that cannot be measured gives the reason."""
    try:
        return measure()
    except Exception as error:  # Any error: the other rows are still useful.
        print(f"not measured: {error!r}", file=sys.stderr, flush=True)
        return [ReportRow(number, None, notes=[f"not measured: {error!r}"]) for number in numbers]


def _ready(bench: Bench) -> ReportRow:
    """Row 11."""
    seconds = [startup.seconds_to_ready() for _ in range(2 * bench.rounds + 1)]
    return ReportRow(11, statistics.median(seconds), [RoundValues("exec to ready", "s", seconds)])


def _setting(bench: Bench, version: str, seconds: float) -> str:
    size = statistics.mean(len(data) for data in bench.pictures) / 1e6
    return (
        f"{len(bench.pictures)} pictures of {size:.2f} MB, model {version} at {bench.limit.size} pixels, "
        f"{bench.rounds} rounds, turns of {bench.seconds:g} s, {seconds / 60:.0f} min in all"
    )


def _numbers(text: str) -> list[int]:
    numbers = [int(number) for number in text.split(",")]
    if unknown := set(numbers) - set(AIMS):
        raise argparse.ArgumentTypeError(f"there is no row {min(unknown)}")
    return numbers


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(PEERS):
        raise argparse.ArgumentTypeError(f"there is no peer {min(unknown)}: choose from {', '.join(PEERS)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=_numbers, default=list(AIMS), help="numbers with commas between (all)")
    parser.add_argument("--names", type=_names, default=list(PEERS), help="peers with commas between (all)")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds per turn; open loops take longer (5)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender (3)")
    parser.add_argument("--images", type=Path, default=PICTURES, help="folder of PNG files")
    parser.add_argument("--peers", type=Path, default=ROOT / "runs/peers", help="the peers' environments (runs/peers)")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/bench", help="folder for CSV and plot (runs/bench)")
    return parser


if __name__ == "__main__":
    # On SIGTERM, still stop the started servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
