"""`lensgate models`: which versions there are, whether they are whole, and which one is served."""

import argparse

from gate import ModelError, ModelStore
from gate.scorer import Scorer
from service.settings import Settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, action, title in (
        ("list", _list, "print every version, its test accuracy and the current one"),
        ("verify", _verify, "load a version as the service would, and check card, hash and graph"),
        ("promote", _promote, "verify a version and make it the current one"),
    ):
        command = actions.add_parser(name, help=title, description=title)
        command.add_argument("--models", help="folder of models (LENSGATE_MODELS, or models)")
        if action is not _list:
            command.add_argument("version", help="the version's name")
        command.set_defaults(run=action)


def _list(options: argparse.Namespace) -> int:
    store = _store(options)
    current = store.current()
    for version in store.versions():
        print(f"{'*' if version == current else ' '} {version:12} {_describe(store, version)}")
    return 0


def _store(options: argparse.Namespace) -> ModelStore:
    return ModelStore(Settings.load({"models": options.models}).models)


def _describe(store: ModelStore, version: str) -> str:
    try:
        card = store.load(version).card
    except ModelError as error:
        return f"unusable: {error}"
    figures = ", ".join(f"{name} {metric.accuracy.value:.4f}" for name, metric in card.metrics.items())
    return f"{card.created:%Y-%m-%d}  {card.input.size} px  test accuracy: {figures}"


def _verify(options: argparse.Namespace) -> int:
    model = _store(options).load(options.version)
    Scorer(model, device="cpu")
    print(f"{model.card.name} {model.card.version} is whole: sha256 {model.card.sha256}")
    return 0


def _promote(options: argparse.Namespace) -> int:
    _verify(options)
    _store(options).promote(options.version)
    return 0
