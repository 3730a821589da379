"""The steps that compare settings and runs: `study`, `tune` and `compare`."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.storage import AnyPath
from common.terminal import p_value, say
from training.cli import options as option
from training.cli.options import PresetOptions, Steps, add_step
from training.errors import DataError, RecordsError
from training.model.preset import Preset

if TYPE_CHECKING:
    from gate.card import Interval
    from training.evaluation.compare import Comparison
    from training.evaluation.seeds import SeedMean
    from training.search.study import StudyKind, StudyResult
    from training.search.tune import Algorithm, TuningTarget

WORKER = "this worker is done; the chief writes the tables"


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """The options of `study`."""

    kind: "StudyKind"
    seeds: int
    records: AnyPath
    preset: PresetOptions
    size: int | None
    out: AnyPath


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """The options of `tune`."""

    target: "TuningTarget"
    algorithm: "Algorithm"
    trials: int | None
    seed: int
    records: AnyPath
    preset: PresetOptions
    size: int | None
    out: AnyPath


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """The options of `compare`."""

    records: AnyPath
    runs: tuple[Path, ...]
    out: AnyPath


def add_to(steps: Steps) -> None:
    """Add these steps."""
    add_step(
        steps,
        "study",
        title="vary one setting, with several seeds for each value",
        options=StudyOptions,
        run=_study,
        arguments=[_study_arguments, option.records, option.preset, option.size, _out],
    )
    add_step(
        steps,
        "tune",
        title="search for better settings with Keras Tuner",
        options=TuneOptions,
        run=_tune,
        arguments=[_tune_arguments, option.seed, option.records, option.preset, option.size, _out],
    )
    add_step(
        steps,
        "compare",
        title="compare finished fits on the test split",
        options=CompareOptions,
        run=_compare,
        arguments=[option.records, _compare_arguments],
    )


def _study_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=("resolution", "batch-size", "sources", "presets"), help="the setting to vary")
    title = "training runs for each value (3)"
    parser.add_argument("--seeds", type=option.positive, default=3, metavar="NUMBER", help=title)


def _tune_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("target", choices=("architecture", "learning-rate"), help="the settings to search")
    title = "number of trials (10); hyperband chooses it itself"
    add("--trials", type=option.positive, metavar="NUMBER", help=title)
    add("--algorithm", choices=("random", "hyperband", "bayesian"), default="random", help="search algorithm (random)")


def _out(parser: argparse.ArgumentParser) -> None:
    title = "folder or URL to write to; finished trials there are kept"
    parser.add_argument("--out", type=option.place, required=True, metavar="DIR", help=title)


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    title = "folder of a fit; the first is the baseline; give at least two"
    add("--run", type=option.local, action="append", required=True, dest="runs", metavar="DIR", help=title)
    title = "folder or URL for comparison.csv and comparison.json"
    add("--out", type=option.place, required=True, metavar="DIR", help=title)


def _study(options: StudyOptions) -> None:
    _refuse_varied(options)
    from training.data.records import Manifest
    from training.search.study import run_study

    manifest = Manifest.read(options.records)
    if options.kind == "resolution":
        preset = options.preset.resolve(min(manifest.shards))
    else:
        preset = options.preset.resolve_for(manifest, options.size)
    study = run_study(
        options.records,
        options.out,
        kind=options.kind,
        preset=preset,
        seeds=options.seeds,
        epochs=options.preset.epochs,
    )
    if study is None:
        say(WORKER)
    else:
        _print_study(study)


def _refuse_varied(options: StudyOptions) -> None:
    """Refuse options that the values of the study replace."""
    own = options.preset
    replaced: dict[str, dict[str, object]] = {
        "resolution": {"--size": options.size},
        "batch-size": {"--batch-size": own.batch_size},
        "presets": {
            "--preset": own.preset,
            "--preset-file": own.preset_file,
            "--batch-size": own.batch_size,
            "--augment": own.augment,
        },
    }
    for flag, value in replaced.get(options.kind, {}).items():
        if value is not None:
            raise DataError(f"`study {options.kind}` chooses this itself: omit {flag}")


def _tune(options: TuneOptions) -> None:
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
        say(WORKER)
        return
    finished = sum(bool(trial.metrics) for trial in tuned.trials)
    say(f"{finished} of {len(tuned.trials)} trials finished; the best is {tuned.best.name}:")
    for name, value in tuned.best.values.items():
        say(f"  {name:20} {value}")
    metrics = tuned.best.metrics
    say(f"validation log loss {metrics[OBJECTIVE]:.4f}, accuracy {metrics['accuracy']:.4f}; {options.out / BEST_FILE}")


def _start(options: TuneOptions) -> Preset:
    from training.data.records import Manifest

    return options.preset.resolve_for(Manifest.read(options.records), options.size)


def _compare(options: CompareOptions) -> None:
    from common.storage import require_place, write_atomically
    from training.evaluation.compare import compare_runs, comparison_rows
    from training.search.trials import write_table

    if len(options.runs) < 2:
        raise RecordsError("a comparison needs at least two runs: repeat --run")
    if twice := next((one for one in options.runs if options.runs.count(one) > 1), None):
        raise RecordsError(f"--run {twice} is given twice: leave one of them out")
    table, result = options.out / "comparison.csv", options.out / "comparison.json"
    require_place(table)
    require_place(result)
    comparison = compare_runs(options.records, options.runs)
    write_table(table, comparison_rows(comparison))
    write_atomically(result, comparison.model_dump_json(indent=2).encode())
    _print_comparison(comparison)


def _print_study(study: "StudyResult") -> None:
    say(f"{study.kind:16} runs  {'accuracy [95 %]':24} {'log loss [95 %]':24} {'seconds':>8} {'records':>9}")
    for summary in study.summaries:
        seconds = "-" if summary.seconds is None else f"{summary.seconds:.1f}"
        say(
            f"{summary.value:16} {summary.runs:4}  {_shown(summary.accuracy):24} {_shown(summary.log_loss):24} "
            f"{seconds:>8} {summary.bytes / 1e6:6.1f} MB"
        )
    _print_differences(study)
    for failed in study.failed:
        say(f"failed: {failed}", error=True)


def _print_differences(study: "StudyResult") -> None:
    real = [difference for difference in study.differences if difference.real]
    for each in real:
        low, high = each.ordered
        say(
            f"significant: {each.metric} is {abs(each.mean):.4f} higher with {high} than with {low} ({p_value(each.p)})"
        )
    if any(summary.runs > 1 for summary in study.summaries):
        others = "No other difference" if real else "No difference"
        say(f"{others} is significant (t test paired by seed, Holm's correction).")
    else:
        say("No difference was tested: that takes --seeds 2 or more.")
    for summary in study.summaries:
        say(
            f"{summary.value}: an accuracy of {summary.accuracy.value:.3f} on {summary.images} images has a standard "
            f"error of {summary.standard_error:.3f}, which more seeds do not reduce."
        )


def _print_comparison(comparison: "Comparison") -> None:
    width = max(len(one.run) for one in comparison.runs)
    say(f"{'run':{width}} errors  {'accuracy [95 %]':24} log loss [95 %]")
    for run in comparison.runs:
        say(f"{run.run:{width}} {run.errors:6}  {_shown(run.accuracy):24} {_shown(run.log_loss)}")
    for pair in comparison.pairs:
        say(
            f"{pair.other}: {pair.only_other_wrong} wrong that {pair.first} gets right, {pair.only_first_wrong} the "
            f"other way (McNemar {p_value(pair.mcnemar_p)}); log loss {_shown(pair.log_loss_difference, sign='+')}"
        )


def _shown(metric: "Interval | SeedMean", *, sign: str = "") -> str:
    if metric.low is None or metric.high is None:
        return f"{metric.value:{sign}.4f}"
    return f"{metric.value:{sign}.4f} [{metric.low:{sign}.4f}, {metric.high:{sign}.4f}]"
