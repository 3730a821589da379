"""The steps that make data: `draw` and `prepare`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training.cli import options as option
from training.cli.options import Steps, add_step
from training.data.dataset import About, DataSet, read_dataset
from training.draw import draw_faces
from training.errors import DataError
from training.model.preset import SIZES


def add_to(steps: Steps) -> None:
    """Add these steps."""
    title = "draw portraits with, without and with hardly visible glasses"
    add_step(steps, "draw", _draw, title, [option.seed, _draw_options])
    add_step(
        steps, "prepare", prepare, "decode data sets into TFRecord shards", [option.seed, data_options, option.records]
    )


def data_options(parser: argparse.ArgumentParser) -> None:
    """--data and what belongs to it"""
    add = parser.add_argument
    title = "folder in the Kaggle layout; may be given again"
    add("--data", type=option.local, action="append", required=True, help=title)
    add(
        "--auxiliary",
        type=option.local,
        action="append",
        default=[],
        metavar="DIR",
        help="another that is learned from, but of whose kind nothing is promised: drawn faces; may be given again",
    )
    add("--source", action="append", default=[], metavar="NAME=TEXT", help="where data set NAME is from")
    add("--licence", action="append", default=[], metavar="NAME=TEXT", help="the terms of data set NAME")
    add(
        "--corrections",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="table of id, label, reason for data set NAME (its corrections.csv)",
    )
    add(
        "--size",
        type=int,
        choices=SIZES,
        action="append",
        dest="sizes",
        help="pixels of the records; may be given again (64)",
    )


def prepare(options: argparse.Namespace) -> None:
    """Decode and split; print what is in each split."""
    from training.data.records import write_records

    datasets = read_datasets(options)
    manifest = write_records(
        datasets, options.records, sizes=options.sizes or [64], seed=options.seed, command=options.command_line
    )
    print_problems(manifest.problems)
    for data in manifest.data:
        for split, images in data.images.items():
            counts = ", ".join(f"{count} {label}" for label, count in images.items())
            print(f"{data.name:16} {split:12} {counts}")
    for size, shards in manifest.shards.items():
        total = sum(shard.bytes for shard in shards)
        print(f"{size} x {size}: {len(shards)} shards, {total / 1e6:.1f} MB")
    print(f"{manifest.seconds} s")


def print_problems(problems: Sequence[str]) -> None:
    """A line each, to standard error."""
    for problem in problems:
        print(problem, file=sys.stderr)


def read_datasets(options: argparse.Namespace) -> list[DataSet]:
    """The data sets that the options of `data_options` name."""
    kinds = ("source", "licence", "corrections")
    texts = {kind: dict(map(_split_text, getattr(options, kind))) for kind in kinds}
    folders = [*options.data, *options.auxiliary]
    names = {folder.absolute().name for folder in folders}
    if unknown := {name for named in texts.values() for name in named} - names:
        raise DataError(f"--{', --'.join(kinds)} name {sorted(unknown)}, but the data sets are {sorted(names)}")
    return [_read(folder, texts, auxiliary=folder in options.auxiliary) for folder in folders]


def _draw_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=option.positive, required=True, help="how many faces")
    parser.add_argument("--out", type=option.local, required=True, help="folder to write in the Kaggle layout")


def _draw(options: argparse.Namespace) -> None:
    draw_faces(options.out, options.count, seed=options.seed, progress=True)


def _read(folder: Path, texts: dict[str, dict[str, str]], *, auxiliary: bool) -> DataSet:
    corrections = texts["corrections"].get(folder.absolute().name)
    data = read_dataset(folder, corrections=Path(corrections) if corrections else None)
    return replace(data, about=_about(data, texts), auxiliary=auxiliary)


def _about(data: DataSet, texts: dict[str, dict[str, str]]) -> About:
    given = {kind: texts[kind][data.name] for kind in ("source", "licence") if data.name in texts[kind]}
    return data.about.model_copy(update=given)


def _split_text(argument: str) -> tuple[str, str]:
    name, separator, text = argument.partition("=")
    if not separator:
        raise DataError(f"{argument!r} is not NAME=TEXT")
    return name, text
