"""`lensgate train STEP`: each step alone, and all of them from raw images to a model that can be served."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gate import Band, ModelStore
from gate.card import Card, Metrics
from training.dataset import About, DataSet, Split, read_dataset
from training.draw import draw_faces
from training.errors import DataError, RecordsError
from training.preset import Preset

if TYPE_CHECKING:
    from training.records import Manifest

LARGEST_SEED = 2**32 - 1
"""NumPy and scikit-learn take seeds below 2**32; the second cut of a split takes the next one."""


def add_steps(parser: argparse.ArgumentParser) -> None:
    """Add the steps and their options to the parser of `lensgate train`."""
    steps = parser.add_subparsers(metavar="STEP", required=True)
    _add(steps, _draw, "draw portraits with, without and with hardly visible glasses", _seed_option, _draw_options)
    _add(steps, _prepare, "decode data sets into TFRecord shards", _seed_option, _data_options, _records_option)
    _add(steps, _fit, "train the network on prepared records", _seed_option, _records_option, _run_option, _fit_options)
    _add(steps, _export, "write model.onnx and its card", _records_option, _run_option, _export_options)
    _add(steps, _evaluate, "measure a model on the test split of prepared records", _records_option, _model_options)
    _add(
        steps, _all, "prepare, fit and export", _seed_option, _data_options, _work_option, _fit_options, _export_options
    )


_Options = Callable[[argparse.ArgumentParser], None]


def _add(
    steps: "argparse._SubParsersAction[argparse.ArgumentParser]",
    step: Callable[[argparse.Namespace], None],
    title: str,
    *options: _Options,
) -> None:
    parser = steps.add_parser(step.__name__.removeprefix("_"), help=title, description=title)
    parser.set_defaults(run=step)
    for add in options:
        add(parser)


def _seed_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=_seed, default=0, help="what is random repeats with the same seed (0)")


def _draw_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=_positive, required=True, help="how many faces")
    parser.add_argument("--out", type=Path, required=True, help="folder to write in the Kaggle layout")


def _data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, action="append", required=True, help="folder in the Kaggle layout; may be given again"
    )
    parser.add_argument(
        "--source", action="append", default=[], metavar="NAME=TEXT", help="where data set NAME is from"
    )
    parser.add_argument(
        "--licence", action="append", default=[], metavar="NAME=TEXT", help="the terms of data set NAME"
    )
    parser.add_argument("--size", type=int, choices=(32, 64, 128), default=64, help="pixels of the records (64)")


def _records_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--records", type=Path, default=Path("runs/records"), help="folder of shards (runs/records)")


def _run_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, default=Path("runs/fit"), dest="run_folder", help="folder of the fit")


def _work_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, default=Path("runs"), help="folder for records and the fit (runs)")


def _fit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=_positive, help="at most so many epochs")
    parser.add_argument("--batch-size", type=_positive, help="images a step")
    parser.add_argument("--no-augment", dest="augment", action="store_false", default=None, help="images as they are")


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of models (models)")
    parser.add_argument("--version", help="the version (by default the current one)")


def _export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("models"), help="folder of models (models)")
    parser.add_argument("--version", help="name of the new version (the next number)")


def _draw(options: argparse.Namespace) -> None:
    draw_faces(options.out, options.count, seed=options.seed, progress=True)


def _prepare(options: argparse.Namespace) -> None:
    from training.records import write_records

    manifest = write_records(
        _read_data(options), options.records, size=options.size, seed=options.seed, command=options.command_line
    )
    for problem in manifest.problems:
        print(problem, file=sys.stderr)
    for data in manifest.data:
        for split, images in data.images.items():
            counts = ", ".join(f"{count} {label}" for label, count in images.items())
            print(f"{data.name:16} {split:10} {counts}")


def _fit(options: argparse.Namespace) -> None:
    from training.fit import fit_network
    from training.records import Manifest

    preset = Preset.from_options(
        size=Manifest.read(options.records).size,
        epochs=options.epochs,
        batch_size=options.batch_size,
        augment=options.augment,
    )
    fit_network(options.records, options.run_folder, preset=preset, seed=options.seed, command=options.command_line)


def _export(options: argparse.Namespace) -> None:
    from training.export import export_model
    from training.fit import load_fitted

    fitted = load_fitted(options.run_folder)
    card = export_model(fitted, options.records, options.out, version=options.version, command=options.command_line)
    print(f"{card.name} {card.version}: {options.out / card.name / card.version}")
    _print_metrics(card.metrics)


def _evaluate(options: argparse.Namespace) -> None:
    from gate.scorer import Scorer
    from training.evaluate import evaluate_by_data_set, predict
    from training.records import Manifest, load_records

    model = ModelStore(options.models).load(options.version)
    _refuse_leak(model.card, Manifest.read(options.records))
    test = load_records(options.records, Split.TEST)
    band = Band(model.card.band.low, model.card.band.high)
    _print_metrics(evaluate_by_data_set(predict(Scorer(model), test), test, band))


def _refuse_leak(card: Card, manifest: "Manifest") -> None:
    """The test split of records that divide the model's own data otherwise holds images it was trained on."""
    shared = {data.name for data in card.data if data.fingerprint in {one.fingerprint for one in manifest.data}}
    if shared and card.training.split_seed != manifest.seed:
        raise RecordsError(
            f"the model learned from {sorted(shared)} split with --seed {card.training.split_seed}: prepare it so"
        )


def _all(options: argparse.Namespace) -> None:
    from training.export import new_version

    # What can be known to fail at the end is said before the hours of work.
    options.version = new_version(options.out, options.version).name
    options.records, options.run_folder = options.work / "records", options.work / "fit"
    for step in (_prepare, _fit, _export):
        step(options)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {LARGEST_SEED - 1}")
    return int(text)


def _read_data(options: argparse.Namespace) -> list[DataSet]:
    texts = {kind: dict(map(_split_text, getattr(options, kind))) for kind in ("source", "licence")}
    datasets = [read_dataset(folder) for folder in options.data]
    names = {data.name for data in datasets}
    if unknown := {name for named in texts.values() for name in named} - names:
        raise DataError(f"--source or --licence name {sorted(unknown)}, but the data sets are {sorted(names)}")
    return [replace(data, about=_about(data, texts)) for data in datasets]


def _about(data: DataSet, texts: dict[str, dict[str, str]]) -> About:
    given = {kind: named[data.name] for kind, named in texts.items() if data.name in named}
    return data.about.model_copy(update=given)


def _split_text(argument: str) -> tuple[str, str]:
    name, separator, text = argument.partition("=")
    if not separator:
        raise DataError(f"{argument!r} is not NAME=TEXT")
    return name, text


def _print_metrics(metrics: dict[str, Metrics]) -> None:
    print(f"{'test split':16} {'images':>6}  {'accuracy [95 %]':24} {'log loss [95 %]':24} coverage")
    for name, metric in metrics.items():
        accuracy, loss = metric.accuracy, metric.log_loss
        print(
            f"{name:16} {metric.images:6}  {accuracy.value:.4f} [{accuracy.low:.4f}, {accuracy.high:.4f}]  "
            f"{loss.value:.4f} [{loss.low:.4f}, {loss.high:.4f}]  {metric.coverage.value:.4f}"
        )
