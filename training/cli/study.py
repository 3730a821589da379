"""The steps that compare: `study`, `tune` and `compare`."""

import argparse
import sys
from typing import TYPE_CHECKING

from training.cli import options as option
from training.cli.options import Steps, add_step
from training.errors import RecordsError
from training.model.preset import Preset

if TYPE_CHECKING:
    from gate.card import Interval
    from training.evaluation.compare import Comparison
    from training.search.study import Mean, Study

WORKER = "this worker is done: the chief writes the tables"


def add_to(steps: Steps) -> None:
    """Add these steps."""
    title = "vary one setting, with several seeds each"
    add_step(steps, "study", _study, title, [_study_options, option.records, option.preset, _size, _out])
    title = "look for better settings with Keras Tuner"
    add_step(steps, "tune", _tune, title, [_tune_options, option.seed, option.records, option.preset, _size, _out])
    title = "compare finished fits on the test split"
    add_step(steps, "compare", _compare, title, [option.records, _runs, _out])


def _study_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=("resolution", "batch-size", "sources", "presets"), help="what is varied")
    parser.add_argument("--seeds", type=option.positive, default=3, help="trainings with each value (3)")


def _tune_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("target", choices=("architecture", "learning-rate"), help="what is tried")
    add("--trials", type=option.positive, help="how many (10); hyperband settles that itself")
    add("--algorithm", choices=("random", "hyperband", "bayesian"), default="random", help="how it chooses (random)")


def _size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, help="pixels, where the records hold several sizes")


def _out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=option.place, required=True, help="folder or URL to write into; what is done there is kept"
    )


def _runs(parser: argparse.ArgumentParser) -> None:
    title = "folder of a fit; the first is the basis"
    parser.add_argument("--run", type=option.local, action="append", required=True, dest="runs", help=title)


def _study(options: argparse.Namespace) -> None:
    from training.data.records import Manifest
    from training.search.study import run_study

    manifest = Manifest.read(options.records)
    size = min(manifest.shards) if options.kind == "resolution" else manifest.the_size(options.size)
    preset = option.chosen_preset(options, size=size)
    study = run_study(
        options.records, options.out, kind=options.kind, preset=preset, seeds=options.seeds, epochs=options.epochs
    )
    if study is None:
        print(WORKER)
    else:
        _print_study(study)


def _tune(options: argparse.Namespace) -> None:
    from training.search.oracles import OBJECTIVE
    from training.search.tune import BEST_FILE, tune

    tuned = tune(
        options.records,
        options.out,
        target=options.target,
        start=_start(options),
        algorithm=options.algorithm,
        trials=options.trials,
        seed=options.seed,
    )
    if tuned is None:
        print(WORKER)
        return
    finished = sum(bool(trial.metrics) for trial in tuned.trials)
    print(f"{finished} of {len(tuned.trials)} trials finished; the best is {tuned.best.name}:")
    for name, value in tuned.best.values.items():
        print(f"  {name:20} {value}")
    found = tuned.best.metrics
    print(f"validation log loss {found[OBJECTIVE]:.4f}, accuracy {found['accuracy']:.4f}; {options.out / BEST_FILE}")


def _start(options: argparse.Namespace) -> Preset:
    from training.data.records import Manifest

    return option.chosen_preset(options, size=Manifest.read(options.records).the_size(options.size))


def _compare(options: argparse.Namespace) -> None:
    from common.storage import write_atomically
    from training.evaluation.compare import compare_runs, comparison_rows
    from training.search.trials import write_table

    if len(options.runs) < 2:
        raise RecordsError("a comparison takes two runs: give --run again")
    comparison = compare_runs(options.records, options.runs)
    write_table(options.out / "comparison.csv", comparison_rows(comparison))
    write_atomically(options.out / "comparison.json", comparison.model_dump_json(indent=2).encode())
    _print_comparison(comparison)


def _print_study(study: "Study") -> None:
    print(f"{study.kind:16} runs  {'accuracy [95 %]':24} {'log loss [95 %]':24} {'seconds':>8} {'records':>9}")
    for one in study.summaries:
        seconds = "-" if one.seconds is None else f"{one.seconds:.1f}"
        print(
            f"{one.value:16} {one.runs:4}  {_shown(one.accuracy):24} {_shown(one.log_loss):24} "
            f"{seconds:>8} {one.bytes / 1e6:6.1f} MB"
        )
    _print_differences(study)
    for failed in study.failed:
        print(f"failed: {failed}", file=sys.stderr)


def _print_differences(study: "Study") -> None:
    real = [one for one in study.differences if one.real]
    for one in real:
        low, high = (one.first, one.second) if one.mean > 0 else (one.second, one.first)
        print(f"real: {one.metric} is {abs(one.mean):.4f} higher with {high} than with {low} (p {one.p:.3f})")
    others = "No other difference" if real else "No difference"
    print(f"{others} is more than seeds make (t test paired by seed, Holm's correction).")
    for summary in study.summaries:
        print(
            f"{summary.value}: an accuracy of {summary.accuracy.value:.3f} on {summary.images} images has a standard "
            f"error of {summary.standard_error:.3f}, which more seeds do not lessen."
        )


def _print_comparison(comparison: "Comparison") -> None:
    width = max(len(one.run) for one in comparison.runs)
    print(f"{'run':{width}} errors  {'accuracy [95 %]':24} log loss [95 %]")
    for run in comparison.runs:
        print(f"{run.run:{width}} {run.errors:6}  {_shown(run.accuracy):24} {_shown(run.log_loss)}")
    for pair in comparison.pairs:
        print(
            f"{pair.other}: {pair.only_other_wrong} wrong that {pair.first} gets right, {pair.only_first_wrong} the "
            f"other way (McNemar p {pair.mcnemar_p:.3f}); log loss {_shown(pair.log_loss_difference, sign='+')}"
        )


def _shown(one: "Interval | Mean", *, sign: str = "") -> str:
    if one.low is None or one.high is None:
        return f"{one.value:{sign}.4f}"
    return f"{one.value:{sign}.4f} [{one.low:{sign}.4f}, {one.high:{sign}.4f}]"
