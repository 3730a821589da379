"""The steps that produce training data: `draw` and `prepare`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from common.storage import AnyPath, local_path
from common.terminal import command, count, escape_controls, printable, say
from training.cli import options as option
from training.cli.options import Steps, add_step
from training.data.dataset import (
    MIN_IMAGES,
    ImageDataSet,
    Provenance,
    Split,
    data_set_name,
    read_dataset,
)
from training.errors import DataError
from training.model.preset import PRESETS, SIZES


@dataclass(frozen=True, slots=True)
class DrawOptions:
    """The options of `draw`."""

    count: int
    out: Path
    seed: int


@dataclass(frozen=True, slots=True)
class DataSetOptions:
    """The data sets to read, from the arguments that `data_arguments` adds; texts have the form NAME=TEXT."""

    data: tuple[Path, ...]
    auxiliary: tuple[Path, ...]
    source: tuple[str, ...]
    licence: tuple[str, ...]
    corrections: tuple[str, ...]
    sizes: tuple[int, ...] | None

    @property
    def texts(self) -> dict[str, tuple[str, ...]]:
        """The NAME=TEXT arguments by option."""
        return {"source": self.source, "licence": self.licence, "corrections": self.corrections}

    def without_auxiliary(self) -> "DataSetOptions":
        """The main data sets alone, with the texts that belong to them."""
        names = {data_set_name(folder) for folder in self.auxiliary}
        texts = {kind: tuple(text for text in given if _split_text(text)[0] not in names)
                 for kind, given in self.texts.items()}  # fmt: skip
        return replace(self, auxiliary=(), **texts)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class PrepareOptions:
    """The options of `prepare`."""

    data_sets: DataSetOptions
    records: AnyPath
    seed: int
    command_line: str


def add_to(steps: Steps) -> None:
    """Add these steps."""
    add_step(
        steps,
        "draw",
        title="draw portraits with, without and with barely visible glasses",
        options=DrawOptions,
        run=_draw,
        arguments=[option.seed, _draw_arguments],
    )
    add_step(
        steps,
        "prepare",
        title="decode data sets into TFRecord shards",
        options=PrepareOptions,
        run=prepare,
        arguments=[option.seed, partial(data_arguments, size="64"), option.records],
    )


def data_arguments(parser: argparse.ArgumentParser, *, size: str, several: bool = True) -> None:
    """Add --data and the options that describe data sets; `size` is the default of --size in words."""
    add = parser.add_argument_group("data sets").add_argument
    title = "data set in the Kaggle layout; may be repeated"
    add("--data", type=option.local, action="append", required=True, metavar="DIR", help=title)
    add(
        "--auxiliary",
        type=option.local,
        action="append",
        default=[],
        metavar="DIR",
        help="additional training data that the guarantee does not cover, such as drawn faces; may be repeated",
    )
    add("--source", action="append", default=[], metavar="NAME=TEXT", help="origin of data set NAME")
    add("--licence", action="append", default=[], metavar="NAME=TEXT", help="licence of data set NAME")
    add(
        "--corrections",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="table of id, label, reason for data set NAME (its corrections.csv)",
    )
    title = f"edge of the records in pixels{'; may be repeated' if several else ''} ({size})"
    kind: dict[str, Any] = {"action": "append"} if several else {"nargs": 1}
    add("--size", type=int, choices=SIZES, dest="sizes", help=title, **kind)


def prepare(options: PrepareOptions) -> str:
    """Decode and split the data sets; print the counts of each split and return the next command."""
    from training.data.records import write_records

    datasets = read_datasets(options.data_sets)
    sizes = options.data_sets.sizes or [64]
    manifest = write_records(datasets, options.records, sizes=sizes, seed=options.seed, command=options.command_line)
    print_problems(manifest.problems)
    for data in manifest.data:
        for split, images in data.images.items():
            counts = ", ".join(f"{amount} {label}" for label, amount in images.items())
            say(f"{data.name:16} {split:12} {counts}")
        if not data.images:
            say(f"{data.name:16} no image is left: all are unreadable, or copies of images of other data sets")
    for size, shards in manifest.shards.items():
        total = sum(shard.bytes for shard in shards)
        say(f"{size} x {size}: {count(len(shards), 'shard')}, {total / 1e6:.1f} MB")
    if (kept := sum(map(manifest.count, Split))) < MIN_IMAGES:
        say(f"{count(kept, 'image')}: too few for an export, which takes {MIN_IMAGES}", error=True)
    return _fit_command(options.records, sizes, options.seed)


def _fit_command(records: AnyPath, sizes: Sequence[int], seed: int) -> str:
    """Return the command that fits the model to serve if its size was prepared, or else the paper's."""
    preset = "gate" if PRESETS["gate"].size in sizes else "paper"
    chosen = ("--size", PRESETS[preset].size if PRESETS[preset].size in sizes else sizes[0]) if len(sizes) > 1 else ()
    return command("train", "fit", "--records", records, "--preset", preset, *chosen, *option.same_seed(seed))


def print_problems(problems: Sequence[str]) -> None:
    """Print one line for each problem to standard error."""
    say(*map(escape_controls, problems), error=True)


def read_datasets(options: DataSetOptions) -> list[ImageDataSet]:
    """Read the data sets that the options name.

    Raises:
        DataError: a data set cannot be read, or an option names a data set that is not given.
    """
    texts = {kind: _named(kind, given) for kind, given in options.texts.items()}
    folders = [*options.data, *options.auxiliary]
    names = {data_set_name(folder) for folder in folders}
    if unknown := {name for named in texts.values() for name in named} - names:
        raise DataError(f"--{', --'.join(texts)} name {sorted(unknown)}, but the data sets are {sorted(names)}")
    return [_read(folder, texts, auxiliary=folder in options.auxiliary) for folder in folders]


def _draw_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--count", type=option.positive, required=True, metavar="NUMBER", help="number of faces")
    add("--out", type=option.local, required=True, metavar="DIR", help="folder to write, in the Kaggle layout")


def _draw(options: DrawOptions) -> str:
    from training.drawing import draw_faces

    draw_faces(options.out, options.count, seed=options.seed, progress=True)
    say(f"{options.out}: {count(options.count, 'face')}")
    return command("train", "prepare", "--data", options.out, "--size", PRESETS["gate"].size)


def _read(folder: Path, texts: dict[str, dict[str, str]], *, auxiliary: bool) -> ImageDataSet:
    corrections = texts["corrections"].get(data_set_name(folder))
    data = read_dataset(folder, corrections=local_path(corrections) if corrections else None)
    given = {kind: printable(texts[kind][data.name]) for kind in ("source", "licence") if data.name in texts[kind]}
    about: Provenance = data.about.model_copy(update=given)
    return replace(data, about=about, auxiliary=auxiliary)


def _named(kind: str, given: Sequence[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, text in map(_split_text, given):
        if name in texts:
            raise DataError(f"--{kind} names {name} twice: leave one of them out")
        texts[name] = text
    return texts


def _split_text(argument: str) -> tuple[str, str]:
    name, _, text = argument.partition("=")
    if not text:
        raise DataError(f"{argument!r} is not NAME=TEXT")
    return printable(name), text
