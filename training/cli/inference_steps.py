"""The steps that run an exported model on images: `evaluate` and `predict`."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.storage import AnyPath
from common.terminal import say
from gate import ModelStore
from gate.card import Card
from training.cli import options as option
from training.cli.data_steps import print_problems
from training.cli.model_steps import print_metrics
from training.cli.options import Steps, add_step
from training.data.dataset import Split
from training.errors import RecordsError

if TYPE_CHECKING:
    from training.data.records import Manifest


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """The options of `evaluate`."""

    records: AnyPath
    models: Path
    version: str | None


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """The options of `predict`."""

    models: Path
    version: str | None
    data: Path
    out: Path


def add_to(steps: Steps) -> None:
    """Add these steps."""
    add_step(
        steps,
        "evaluate",
        title="evaluate a model on the test split of prepared records",
        options=EvaluateOptions,
        run=_evaluate,
        arguments=[option.records, option.served_models],
    )
    add_step(
        steps,
        "predict",
        title="write a CSV of probabilities and decisions for a folder, or for the unlabelled images of a data set",
        options=PredictOptions,
        run=_predict,
        arguments=[option.served_models, _predict_arguments],
    )


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    title = "data set in the Kaggle layout, or folder of images"
    add("--data", type=option.local, required=True, metavar="DIR", help=title)
    title = "table to write (predictions.csv)"
    add("--out", type=option.local, default=Path("predictions.csv"), metavar="FILE", help=title)


def _evaluate(options: EvaluateOptions) -> None:
    from gate.scorer import Scorer
    from training.data.records import Manifest, load_records
    from training.evaluation.evaluate import evaluate_by_data_set, score_images

    model, manifest = ModelStore(options.models).load(options.version), Manifest.read(options.records)
    _refuse_leak(model.card, manifest)
    _warn_of_leak(model.card, manifest)
    test = load_records(options.records, Split.TEST, size=model.card.input.size)
    judged = score_images(Scorer(model, device="cpu"), model.card, test.images)
    print_metrics(evaluate_by_data_set(judged, test, model.card))


def _predict(options: PredictOptions) -> None:
    from training.predict import check_place, find_images, predict_images

    check_place(options.out, options.data)
    model = ModelStore(options.models).load(options.version)
    images, problems = find_images(options.data)
    print_problems(problems)
    counts = predict_images(model, images, options.out)
    say(f"{options.out}: {counts.accept} accepted, {counts.discard} discarded, {counts.error} could not be read")


def _refuse_leak(card: Card, manifest: "Manifest") -> None:
    """Refuse records with another split of the model's own data: their test split contains training images."""
    shared = {data.name for data in card.data if data.fingerprint in {one.fingerprint for one in manifest.data}}
    if shared and card.training.split_seed != manifest.seed:
        raise RecordsError(
            f"the model was trained on {sorted(shared)}, split with --seed {card.training.split_seed}: "
            "prepare the records with that seed"
        )


def _warn_of_leak(card: Card, manifest: "Manifest") -> None:
    """Warn of data sets that may be split differently than for the training, which moves images between splits."""
    tested = {data.fingerprint: data.images.get(Split.TEST) for data in card.data}
    names = {data.name for data in card.data}
    # A fingerprint knows neither the order of rows nor test.csv. The table does, and the names and order of data sets.
    known, given = ([(data.name, data.fingerprint) for data in sets] for sets in (card.data, manifest.data))
    has_moved = known == given and card.training.records != manifest.fingerprint()
    for data in manifest.data:
        if data.fingerprint not in tested and data.name in names:
            change = "has other images or labels"
        elif data.fingerprint in tested and (has_moved or data.images.get(Split.TEST) != tested[data.fingerprint]):
            change = "has its rows in another order, another test.csv or other data sets beside it"
        else:
            continue
        say(
            f"{data.name} {change} than when the model was trained on it: the model may have learned from images of "
            "this test split, unless they come from its test.csv",
            error=True,
        )
