"""Options that several steps share, and how their values are read."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.errors import UrlError
from common.storage import AnyPath, parse_path
from training.model.preset import PRESETS, Preset

LARGEST_SEED = 2**31 - 64
"""TensorFlow's stateless operations take seeds below 2**31; a run uses the next few as well."""

Step = Callable[[argparse.Namespace], None]
Options = Callable[[argparse.ArgumentParser], None]
Steps = Any  # argparse has no public name for what add_subparsers returns.


def add_step(steps: Steps, name: str, step: Step, title: str, options: Sequence[Options]) -> None:
    """Add one step with its options to the parser of `lensgate train`."""
    parser = steps.add_parser(name, help=title, description=title)
    parser.set_defaults(run=step)
    for add in options:
        add(parser)


def seed(parser: argparse.ArgumentParser) -> None:
    """--seed"""
    parser.add_argument("--seed", type=seed_number, default=0, help="what is random repeats with the same seed (0)")


def records(parser: argparse.ArgumentParser) -> None:
    """--records"""
    parser.add_argument(
        "--records",
        type=place,
        default=Path("runs/records"),
        help="folder of shards, or its URL in object storage (runs/records)",
    )


def run(parser: argparse.ArgumentParser) -> None:
    """--run"""
    parser.add_argument("--run", type=local, default=Path("runs/fit"), dest="run_folder", help="folder of the fit")


def models(parser: argparse.ArgumentParser) -> None:
    """--models, --version"""
    parser.add_argument("--models", type=local, default=Path("models"), help="folder of models (models)")
    parser.add_argument("--version", help="the version (by default the current one)")


def preset(parser: argparse.ArgumentParser) -> None:
    """--preset and what may be changed of it"""
    parser.add_argument("--preset", choices=PRESETS, default="paper", help="the network and its training (paper)")
    parser.add_argument("--preset-file", type=place, metavar="FILE", help="settings found by tune, instead of --preset")
    parser.add_argument("--epochs", type=positive, help="at most so many epochs")
    parser.add_argument("--batch-size", type=positive, help="images a step")
    parser.add_argument("--augment", type=strength, metavar="STRENGTH", help="0: images as they are, 1: far from it")


def chosen_preset(options: argparse.Namespace, **changes: Any) -> Preset:
    """The preset that the options of `preset` name, with `changes`.

    Raises:
        DataError: the file of settings is none.
    """
    changes = {"epochs": options.epochs, "batch_size": options.batch_size, "augment": options.augment, **changes}
    start = Preset.read(options.preset_file) if options.preset_file else PRESETS[options.preset]
    return start.changed(**changes)


def place(text: str) -> AnyPath:
    """A folder or file of this machine, or an URL of object storage."""
    try:
        return parse_path(text)
    except UrlError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def local(text: str) -> Path:
    """A folder or file of this machine."""
    found = place(text)
    if not isinstance(found, Path):
        raise argparse.ArgumentTypeError(f"{text!r} is an URL, and this takes a folder or file of this machine")
    return found


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seed_number(text: str) -> int:
    """A seed that every library takes."""
    if not text.isdecimal() or int(text) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {LARGEST_SEED}")
    return int(text)


def share(text: str) -> float:
    """A number above 0 and below 1."""
    number = _number(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return number


def above_zero(text: str) -> float:
    """A finite number above 0."""
    number = _number(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def strength(text: str) -> float:
    """A number from 0 to 1."""
    number = _number(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
