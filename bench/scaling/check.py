"""Compare the simulation with two real replicas behind a real nginx on this machine.

    python -m bench.scaling.check --images ../shared/faces/originals

The command first measures processor time per image: in the replica, at moderate and at full load, and in nginx and the
load generator. From these and the send times it predicts goodput and latencies; then it sends the images. On a machine
with two cores nginx and the generator share the cores of the replicas, and the simulated replicas are slower
accordingly. Finally one replica is ended under load. The run takes two minutes, nginx and a quiet machine. The status
is 1 if a prediction is outside its tolerance or an image is lost.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median

from bench.scaling import nginx
from bench.scaling.inprocess import StepTimer
from bench.scaling.pair import REPLICAS, Expense, PlanOutcome, ReplicaPair, TooFewCoresError, replicas
from bench.scaling.predicted_vs_measured import MAX_OFF, Figures, ImageCost, PredictionRow, capacity, predict
from bench.scaling.processor import milliseconds
from bench.scaling.replica_failure import SIGNALS, SignalOutcome, signal_one
from bench.scaling.tables import DocumentError, MarkdownTable, by_name, refresh
from bench.serving.contenders import PICTURES, ROOT
from bench.serving.machine import describe
from bench.serving.posts import image_post, read_pictures
from bench.serving.processes import StartError
from gate import ModelStore

LOADS = (0.5, 0.7, 1.4)
"""Loads relative to the capacity of both replicas; the last reaches their admission limits within seconds."""
_CALIBRATION_LOAD = 0.6
_ENDING_LOAD = 0.3
_BESIDES_DECODING_MS = 4.0
"""An initial guess per image, used only to choose the load of the measurement."""
_QUIET = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict, measure and print; 1 if they disagree, 2 if the measurement is impossible."""
    options = _parser().parse_args(arguments)
    try:
        rows, endings = _check(options.images, options.seconds)
        tables = _tables(rows, endings)
        print("\n\n".join(["\n".join(describe()), *map(str, tables), "\n".join(_verdict(rows, endings))]))
        if options.write:
            refresh(options.write, by_name(tables))
    except (TooFewCoresError, StartError, DocumentError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return int(bool(_missed(rows, endings)))


def _check(images: Path, seconds: float) -> tuple[list[PredictionRow], list[SignalOutcome]]:
    nginx.check_installed()
    files = read_pictures(images)
    bare = StepTimer(ModelStore(ROOT / "models").load(), rounds=1)
    pictures = [ImageCost(len(data), median(milliseconds(bare.pixels, [data] * 4)[1:])) for data in files]
    posts = [image_post("/v1/decisions", data) for data in files]
    guess = REPLICAS * 1e3 / (fmean(picture.decode_ms for picture in pictures) + _BESIDES_DECODING_MS)
    rows = []
    with replicas(files[0]) as (both, is_alone):
        for method in nginx.METHODS:
            with nginx.proxying([replica.port for replica in both], method=method) as proxy:
                pair = ReplicaPair(both, proxy, posts, is_alone)
                rows += _compare(pair, pictures, method=method, guess=guess, seconds=seconds)
        end = partial(signal_one, posts=posts, rate=_ENDING_LOAD * guess, seconds=seconds / 2)
        endings = [end(both, number=SIGNALS[0])]
    for number in SIGNALS[1:]:
        with replicas(files[0]) as (both, _):
            endings.append(end(both, number=number))
    return rows, endings


def _compare(
    pair: ReplicaPair, pictures: Sequence[ImageCost], *, method: str, guess: float, seconds: float
) -> list[PredictionRow]:
    start = pair.start_seconds()
    calibration = pair.plan(rate=_CALIBRATION_LOAD * guess, seconds=seconds / 2)
    moderate = pair.send(calibration, start_seconds=start).expense
    # Batches are fuller and hashing is skipped, so an image takes less time.
    full = Expense(pair.full_ms(seconds / 2), moderate.between)
    most = capacity(full, is_alone=pair.is_alone)
    rows = []
    for seed, load in enumerate(LOADS, 1):
        plan = pair.plan(rate=load * most, seconds=seconds, seed=seed)
        expense = moderate if load < 1 else full
        predicted = predict(plan, pictures, expense, method=method, is_alone=pair.is_alone)
        sent = pair.send(plan, start_seconds=start)
        rows.append(PredictionRow(method, load, plan.rate, predicted, Figures.of_result(sent.result), sent.others))
        print(f"{method}, {load:g} of {most:.0f} images/s: {_counts(sent)}", file=sys.stderr, flush=True)
    return rows


def _counts(sent: PlanOutcome) -> str:
    counts = {**sent.result.statuses, **sent.result.failures}
    return ", ".join(f"{count} x {what}" for what, count in counts.items()) + f"; others took {sent.others:.0%}"


def _tables(rows: Sequence[PredictionRow], endings: Sequence[SignalOutcome]) -> list[MarkdownTable]:
    head = ["method", "load", "images/s sent", "answered a second", "median, ms", "99 %, ms"]
    return [
        MarkdownTable("checked", head, [row.cells() for row in rows]),
        MarkdownTable(
            "checked-end",
            ["ended by", "images sent", "not answered 200"],
            [one.cells() for one in endings],
        ),
    ]


def _verdict(rows: Sequence[PredictionRow], endings: Sequence[SignalOutcome]) -> list[str]:
    limits = ", ".join(f"{name} within {most:.0%}" for name, most in MAX_OFF.items())
    lines = [f"predicted / measured (relative error of the prediction); wanted: {limits}, no image lost"]
    if (others := max(row.others for row in rows)) > _QUIET:
        lines.append(f"others took {others:.0%} of the cores: on a quiet machine this says more")
    missed = _missed(rows, endings)
    return [*lines, f"missed: {', '.join(missed)}" if missed else "all agree"]


def _missed(rows: Sequence[PredictionRow], endings: Sequence[SignalOutcome]) -> list[str]:
    missed = [f"{row.method} at {row.load:g}" for row in rows if not row.agrees]
    return missed + [one.signal for one in endings if not one.agrees]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling.check", description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, default=PICTURES, help="folder of PNG files")
    parser.add_argument("--seconds", type=float, default=12.0, help="seconds for each of six loads (12)")
    parser.add_argument("--write", type=Path, help="document whose tables to update")
    return parser


if __name__ == "__main__":
    sys.exit(main())
