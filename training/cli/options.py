"""Command-line options shared by several steps, and the frozen dataclasses that carry them to the steps."""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from common.environment import read_variable
from common.errors import UrlError
from common.storage import AnyPath, parse_path
from common.terminal import say
from gate.default_models import default_models
from training.cli.native_log import without_notes
from training.errors import DataError
from training.model.preset import PRESETS, Preset, read_settings

if TYPE_CHECKING:
    from training.data.records import Manifest

LARGEST_SEED = 2**31 - 64
"""TensorFlow's stateless operations accept seeds below 2**31; a run also uses the next few seeds."""

PRESET_CHOICE = """\
presets:
  gate   for a model to serve: needs images of 128 pixels, augments them and always takes 22 epochs; 2,000 faces took
         7 minutes on two cores
  paper  reproduces the paper's network: 64 pixels, no augmentation, at most 40 epochs with early stopping; unseen
         generators and thin frames are often misread
"""

AddArguments = Callable[[argparse.ArgumentParser], None]
Steps = Any  # argparse has no public name for the return type of add_subparsers.

_Options = TypeVar("_Options")


@dataclass(frozen=True, slots=True)
class PresetOptions:
    """The preset and its overrides, from the arguments that `preset` adds."""

    preset: str | None
    preset_file: AnyPath | None
    epochs: int | None
    batch_size: int | None
    augment: float | None

    def start(self) -> Preset:
        """Return the chosen preset without the overrides.

        Raises:
            DataError: the preset file does not hold settings.
        """
        return Preset.read(self.preset_file) if self.preset_file else PRESETS[self.preset or "paper"]

    def resolve(self, size: int) -> Preset:
        """Return the chosen preset at `size` pixels with the overrides applied.

        Raises:
            DataError: the preset file does not hold settings.
        """
        return self.start().changed(epochs=self.epochs, batch_size=self.batch_size, augment=self.augment, size=size)

    def resolve_for(self, manifest: "Manifest", size: int | None) -> Preset:
        """Return the chosen preset with the overrides applied, at `size` or the only size of the records.

        Raises:
            DataError: the preset file does not hold settings, or holds another size.
            RecordsError: the records lack `size`, or hold several sizes and it is None.
        """
        edge = manifest.the_size(size)
        if size is None and self.preset_file and "size" in read_settings(self.preset_file):
            wanted = self.start().size
            if wanted != edge:
                raise DataError(
                    f"{self.preset_file} sets the size {wanted}, and the records hold {edge} alone: prepare --size "
                    f"{wanted}, or pass --size {edge} to replace it"
                )
        return self.resolve(edge)


def add_step(
    steps: Steps,
    name: str,
    *,
    title: str,
    options: type[_Options],
    run: Callable[[_Options], str | None],
    arguments: Sequence[AddArguments],
) -> None:
    """Add one step to the parser of `lensgate train`.

    `run` receives its arguments as an `options` object and returns the next command of the chain, if there is one.
    """
    parser = steps.add_parser(name, help=title, description=title)
    parser.set_defaults(step=name, run=lambda namespace: _run(run, read_options(namespace, options)))
    for add in arguments:
        add(parser)


def _run(run: Callable[[_Options], str | None], options: _Options) -> None:
    with without_notes():
        following = run_timed(partial(run, options))
    if following:
        say(f"next: {following}")


def run_timed(run: Callable[[], str | None]) -> str | None:
    """Run one step, print its duration and return the next command, if there is one."""
    started = time.monotonic()
    following = run()
    say(f"took {duration(time.monotonic() - started)}")
    return following


def duration(seconds: float) -> str:
    """Format a duration: `4.2 s`, `3 min 20 s` or `2 h 5 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def read_options(namespace: argparse.Namespace, kind: type[_Options]) -> _Options:
    """Build the dataclass `kind` from a namespace; fields that are dataclasses are built the same way."""
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if isinstance(field.type, type) and is_dataclass(field.type):
            values[field.name] = read_options(namespace, field.type)
        else:
            value = getattr(namespace, field.name)
            values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def seed(parser: argparse.ArgumentParser) -> None:
    """Add --seed."""
    title = "random seed; equal seeds give equal results on equal machines (0)"
    parser.add_argument("--seed", type=seed_number, default=0, help=title)


def same_seed(number: int) -> tuple[object, ...]:
    """Return the arguments by which the next command has this seed."""
    return ("--seed", number) if number else ()


def records(parser: argparse.ArgumentParser) -> None:
    """Add --records."""
    parser.add_argument(
        "--records",
        type=place,
        metavar="DIR",
        default=Path("runs/records"),
        help="folder of shards, or its URL in object storage (runs/records)",
    )


def run(parser: argparse.ArgumentParser) -> None:
    """Add --run."""
    title = "folder of the fit (runs/fit)"
    parser.add_argument("--run", type=local, default=Path("runs/fit"), dest="run_folder", metavar="DIR", help=title)


def models(parser: argparse.ArgumentParser) -> None:
    """Add --models, by default where `export` writes, and --version."""
    _models(parser, default="models", title="models")


def served_models(parser: argparse.ArgumentParser) -> None:
    """Add --models, by default that of the commands which decide about images, and --version."""
    served = read_variable(os.environ, "LENSGATE_MODELS") or str(default_models())
    _models(parser, default=served, title="that of `lensgate serve`")


def _models(parser: argparse.ArgumentParser, *, default: str, title: str) -> None:
    parser.add_argument("--models", type=local, default=default, metavar="DIR", help=f"folder of models ({title})")
    parser.add_argument("--version", help="version of the model (the current one)")


def preset(parser: argparse.ArgumentParser) -> None:
    """Add --preset and its overrides."""
    parser.epilog = PRESET_CHOICE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    group = parser.add_argument_group("network and training")
    add, choose = group.add_argument, group.add_mutually_exclusive_group().add_argument
    choose("--preset", choices=PRESETS, help="settings of network and training (paper)")
    choose(
        "--preset-file",
        type=place,
        metavar="FILE",
        help="JSON file of settings, as tune writes it, instead of --preset",
    )
    add("--epochs", type=positive, metavar="NUMBER", help="largest number of epochs (the preset's)")
    add("--batch-size", type=positive, metavar="IMAGES", help="images in a batch (the preset's)")
    add("--augment", type=strength, metavar="0..1", help="strength of augmentation; 0 is none (the preset's)")


def size(parser: argparse.ArgumentParser) -> None:
    """Add --size."""
    parser.add_argument(
        "--size", type=int, metavar="PIXELS", help="edge in pixels; required if the records hold several sizes"
    )


def place(text: str) -> AnyPath:
    """Parse a local path or an object storage URL."""
    if not text:
        # As from a shell variable that is not set; it would be the current folder.
        raise argparse.ArgumentTypeError("the path is empty")
    try:
        return parse_path(text)
    except UrlError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def local(text: str) -> Path:
    """Parse a local path."""
    found = place(text)
    if not isinstance(found, Path):
        raise argparse.ArgumentTypeError(f"{text!r} is a URL, but this option takes a local path")
    return found


def positive(text: str) -> int:
    """Parse an integer > 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer > 0")
    return int(text)


def seed_number(text: str) -> int:
    """Parse a seed that every library accepts."""
    if not text.isdecimal() or int(text) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 0 to {LARGEST_SEED}")
    return int(text)


def share(text: str) -> float:
    """Parse a number > 0 and < 1."""
    number = _number(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return number


def strength(text: str) -> float:
    """Parse a number from 0 to 1."""
    number = _number(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
