"""`lensgate models`: list, verify, promote and roll back model versions."""

import argparse
from functools import partial

from common.terminal import say
from gate import Card, ModelError, ModelStore
from gate.errors import GateError
from gate.model_store import Model
from service.settings import Settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, action, title in (
        ("list", _list, "print every version, its test accuracy and the current one"),
        ("verify", _verify, "load a version as the service would: card, hash, graph, golden samples and band"),
        ("promote", _promote, "verify a version and make it the current one; running services switch to it"),
        ("rollback", _rollback, "verify the version that was current before, and make it the current one again"),
    ):
        command = actions.add_parser(name, help=title, description=title)
        command.add_argument("--models", metavar="PATH", help="folder of models (default: that of `lensgate serve`)")
        if action in (_verify, _promote):
            command.add_argument("version", metavar="VERSION", help="a version that `lensgate models list` prints")
        command.set_defaults(run=action)


def _list(options: argparse.Namespace) -> int:
    """Return status 1 if the current version could not be served."""
    settings, store = _open(options)
    # A list needs only the CPU: CUDA takes seconds per version.
    settings = settings.model_copy(update={"device": "cpu"})
    current, fault = _current(store)
    versions = store.versions()
    for version in [*versions, *(name for name in (current,) if name and name not in versions)]:
        try:
            note = _describe(verify_model(store.load(version), settings))
        except GateError as error:
            note = f"unusable: {error}"
            fault = f"version {version} is promoted and cannot be served" if version == current else fault
        say(f"{'*' if version == current else ' '} {version:12} {note}")
    if fault:
        say(f"lensgate: {fault}; a running service keeps the version it has", error=True)
    return 1 if fault else 0


def _current(store: ModelStore) -> tuple[str | None, str | None]:
    """Return the current version, or the error of reading it."""
    try:
        return store.current(), None
    except ModelError as error:
        return None, str(error)


def _open(options: argparse.Namespace) -> tuple[Settings, ModelStore]:
    settings = Settings.load({"models": options.models})
    return settings, ModelStore(settings.models)


def verify_model(model: Model, settings: Settings) -> Card:
    """Return the card; raise GateError if a service with these settings would not serve the model."""
    from service.inference.model_loading import prepare_model

    return prepare_model(model, settings).card


def _describe(card: Card) -> str:
    figures = ", ".join(f"{name} {metric.accuracy.value:.4f}" for name, metric in card.metrics.items())
    classes = card.band.classes or {}
    promised = "".join(f", {label} {'' if each.certified else 'not '}certified" for label, each in classes.items())
    return f"{card.created:%Y-%m-%d}  {card.input.size} px  test accuracy: {figures}{promised}"


def _verify(options: argparse.Namespace) -> int:
    settings, store = _open(options)
    card = verify_model(store.load(options.version), settings)
    golden = f", {len(card.golden)} golden samples score as at export" if card.golden else ", no golden samples"
    say(f"{card.name} {card.version} is whole: sha256 {card.sha256}{golden}")
    return 0


def _promote(options: argparse.Namespace) -> int:
    settings, store = _open(options)
    store.promote(options.version, verify=partial(verify_model, settings=settings))
    say(f"{store.name} {options.version} is current")
    return 0


def _rollback(options: argparse.Namespace) -> int:
    settings, store = _open(options)
    done = store.rollback(verify=partial(verify_model, settings=settings))
    for version in done.passed_over:
        say(f"lensgate: version {version} is gone: passed over", error=True)
    say(f"{store.name} {done.version} is current again")
    return 0
