"""Labelled faces on disk, in the layout of Kaggle's *Glasses or No Glasses*.

`train.csv` has the columns `id` and `glasses` (1 or 0); others, such as the 512 latent values, are ignored. `test.csv`
has `id` and optionally `glasses`. Images are named `face-<id>` with any supported ending and lie in one of
`IMAGE_FOLDERS`. An optional `about.json` gives `source` and `licence`; an optional column `source` names the generator
or collection of each image. Label corrections are in a separate table, `corrections.csv` with `id`, `label` and
`reason`; the original tables are never edited.

Each line of a table is one row: it is read, or reported by number as a problem or in an error.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from common.terminal import count, printable
from gate import Label
from gate.header import IMAGE_ENDINGS
from gate.validation import explain
from training.data.csv_table import CsvRow, read_table
from training.data.image_folders import IMAGE_FOLDERS, composed, find_images
from training.errors import DataError

PROVENANCE_FILE = "about.json"
CORRECTIONS_FILE = "corrections.csv"
TABLES = ("train.csv", "test.csv", CORRECTIONS_FILE)
UNCLEAR = "unclear"

MIN_IMAGES = 256
"""An exported graph is compared with its network on at least this many images."""

_NO_LABEL = ("", "na", "n/a", "nan", "<na>", "null", "none")
"""How R, pandas and databases write a cell without a value."""

_LAYOUT = (
    f"; an image with the id 1 is face-1.png (or .jpg, .webp) in {', '.join(IMAGE_FOLDERS[:-1])} or beside train.csv"
)


class Split(StrEnum):
    """The purpose of a subset of a data set.

    Training; early stopping; temperature, novelty threshold and certificate; final metrics.
    """

    TRAIN = "train"
    VALIDATION = "validation"
    CALIBRATION = "calibration"
    TEST = "test"


class Provenance(BaseModel):
    """Origin and licence of a data set; the card of a model trained on it repeats both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = "not stated"
    licence: str = "not stated"


@dataclass(frozen=True, slots=True)
class Example:
    """One image; `glasses` is None if unlabelled, `given` is the label before corrections."""

    name: str
    path: Path
    glasses: bool | None
    source: str = ""
    given: bool | None = None


@dataclass(frozen=True, slots=True)
class Correction:
    """A reviewed label of one image; `glasses` is None if the image is unclear."""

    glasses: bool | None
    reason: str


@dataclass(frozen=True, slots=True)
class _Table:
    """A table's columns and usable rows, and the names of all its images and of those with a label, usable or not."""

    columns: tuple[str, ...]
    examples: list[Example]
    names: set[str]
    labelled: set[str]


@dataclass(frozen=True, slots=True)
class ImageDataSet:
    """The listed images that exist on disk; `problems` has one line for each row that was skipped.

    An `auxiliary` data set is used for training and testing only: it has no part in early stopping, calibration or the
    certificate, so the guarantee does not cover images of its kind.
    """

    name: str
    folder: Path
    about: Provenance
    train: tuple[Example, ...]
    test: tuple[Example, ...]
    problems: tuple[str, ...]
    auxiliary: bool = False


def read_dataset(folder: Path, *, corrections: Path | None = None) -> ImageDataSet:
    """Read the tables of a data set and find its images, without opening them.

    An image with a label in `test.csv` is never used for training. `corrections` defaults to the optional
    `corrections.csv` in the folder; images that it calls unclear are left out.

    Raises:
        DataError: `train.csv` is missing, a table cannot be read or lacks a column, or has labels and no usable row.
    """
    require_folder(folder)
    table = folder / "train.csv"
    if not _is_there(table):
        raise DataError(f"{table} does not exist: --data takes a folder in the Kaggle layout, which contains train.csv")
    problems: list[str] = []
    images = find_images(folder, problems)
    changes = read_corrections(corrections or folder / CORRECTIONS_FILE, required=corrections is not None)
    test_table = folder / "test.csv"
    in_train = _read_table(table, images, problems)
    in_test = _read_table(test_table, images, problems) if _is_there(test_table) else _Table((), [], set(), set())
    test = _corrected(in_test.examples, changes, problems)
    if in_test.labelled and not test:
        raise DataError(f"{test_table} has no usable row; correct or remove its labels: {'; '.join(problems[-3:])}")
    listed = _corrected(in_train.examples, changes, problems)
    problems += _describe_unused(in_train, in_test, images=images, changes=changes)
    train = tuple(example for example in listed if example.name not in in_test.labelled)
    if not train:
        raise DataError(
            f"no labelled image was found under {folder}: {'; '.join(problems[:3]) or 'train.csv has no rows'}{_LAYOUT}"
        )
    return ImageDataSet(data_set_name(folder), folder, _read_about(folder), train, tuple(test), tuple(problems))


def data_set_name(folder: Path) -> str:
    """Return the name of the data set in `folder`: the folder's own, also for `.` and `..`."""
    # Path.resolve would follow links, which have other names.
    return printable(Path(os.path.abspath(folder)).name)  # noqa: PTH100


def require_folder(folder: Path) -> None:
    """Raise DataError unless `folder` is one."""
    if not folder.is_dir():
        raise DataError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}: --data takes a folder")


def read_unlabelled(folder: Path) -> tuple[list[Example], list[str]]:
    """Read the images that a `test.csv` lists without a label, and one line for each such row that was skipped.

    Both are empty if there is no such table, or if all of its rows have labels.

    Raises:
        DataError: the table cannot be read or lacks the column id.
    """
    table, problems = folder / "test.csv", list[str]()
    if not _is_there(table):
        return [], []
    lines = [line for line in read_table(table, {"id"}, optional={"glasses"}).lines if not _label(line)]
    if not lines:
        return [], []
    return _read_lines(table, lines, find_images(folder, problems), problems, is_labelled=False), problems


def read_corrections(table: Path, *, required: bool = True) -> dict[str, Correction]:
    """Read `id,label,reason`; the last line about an image wins. A missing table that is not `required` is empty.

    Raises:
        DataError: a required table is missing, a table cannot be read or lacks a column, or a label is invalid.
    """
    if not _is_there(table):
        if required:
            raise DataError(f"{table} does not exist: corrections are a CSV with the columns id, label and reason")
        return {}
    lines = read_table(table, {"id", "label", "reason"}).lines
    return {image_name(line.cells.get("id", "")): _correction(table, line) for line in lines}


def _is_there(path: Path) -> bool:
    """Return whether a file exists; another thing of its name, such as a folder, would be overlooked."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is not a file")
    return path.exists()


def _correction(table: Path, line: CsvRow) -> Correction:
    if line.fault:
        raise DataError(f"{table} line {line.number} has {line.fault}: quote a reason that contains a comma")
    label = line.cells["label"].strip()
    if label not in (*Label, UNCLEAR):
        raise DataError(
            f"{table} line {line.number}: {line.cells['id']} has the label {label!r} instead of {', '.join(Label)} or "
            f"{UNCLEAR}"
        )
    return Correction(None if label == UNCLEAR else label == Label.GLASSES, line.cells["reason"].strip())


def _corrected(examples: list[Example], changes: dict[str, Correction], problems: list[str]) -> list[Example]:
    kept = []
    for example in examples:
        change = changes.get(example.name)
        if change is None or example.glasses is None:
            kept.append(example)
        elif change.glasses is None:
            problems.append(f"corrections: {example.name} is left out as unclear: {change.reason or 'no reason given'}")
        else:
            kept.append(replace(example, glasses=change.glasses))
    return kept


def image_name(text: str) -> str:
    """Return the name of the image that an id of a table means."""
    # Kaggle's file has some integers as floats; people write 12, face-12 and face-12.png.
    text = text.strip()
    stem, _, ending = text.rpartition(".")
    if f".{ending.lower()}" in IMAGE_ENDINGS:
        return composed(f"face-{stem.removeprefix('face-')}")
    text = text.removeprefix("face-")
    return composed(f"face-{_whole(text) or text}")


def _whole(text: str) -> str | None:
    """Return the digits of a whole number that was written with decimals, such as 12.0."""
    match = re.fullmatch(r"(\d+)\.0*", text)
    return match[1] if match else None


def _read_about(folder: Path) -> Provenance:
    path = folder / PROVENANCE_FILE
    if not _is_there(path):
        return Provenance()
    try:
        return Provenance.model_validate_json(path.read_text(encoding="utf-8-sig"))
    except ValidationError as error:
        texts = (": ".join(filter(None, (*map(str, fault["loc"]), explain(fault)))) for fault in error.errors())
        raise DataError(f'{path} is not {{"source": "...", "licence": "..."}}: {"; ".join(texts)}') from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}; save it as UTF-8") from error


def _read_table(table: Path, images: Mapping[str, Path], problems: list[str]) -> _Table:
    required = {"id", "glasses"} if table.name == "train.csv" else {"id"}
    read = read_table(table, required, optional={"glasses", "source"})
    names = [image_name(line.cells.get("id", "")) for line in read.lines]
    labelled = {name for name, line in zip(names, read.lines, strict=True) if _label(line)}
    # A label in one row of `test.csv` is enough; an empty column is none.
    is_labelled = "glasses" in required or bool(labelled)
    examples = _read_lines(table, read.lines, images, problems, is_labelled=is_labelled)
    return _Table(read.columns, examples, set(names), labelled)


def _describe_unused(
    train: _Table, test: _Table, *, images: Mapping[str, Path], changes: Iterable[str]
) -> Iterator[str]:
    """Yield a line about each correction, row, column and image that has no effect."""
    corrected = {example.name for example in (*train.examples, *test.examples) if example.glasses is not None}
    for name in sorted(set(changes) - corrected):
        yield f"corrections: {name} has no usable row with a label in train.csv or test.csv"
    for example in train.examples:
        if example.name in test.labelled:
            yield f"train.csv: {example.name} is also in test.csv and reserved for testing"
    others = [one for one in test.columns if one not in {*train.columns, "source", ""}]
    if others and "glasses" not in test.columns:
        yield f"test.csv has no column glasses, so no labels, only {', '.join(others[:8])} beside those of train.csv"
    if unlisted := [path.name for name, path in images.items() if name not in train.names | test.names]:
        names = f"{', '.join(unlisted[:3])}{' ...' if len(unlisted) > 3 else ''}"
        yield f"no row of train.csv or test.csv names {count(len(unlisted), 'image')}: {names}"


def _read_lines(
    table: Path, lines: Iterable[CsvRow], images: Mapping[str, Path], problems: list[str], *, is_labelled: bool
) -> list[Example]:
    seen: dict[str, CsvRow] = {}
    examples = []
    for line in lines:
        example = _read_line(line, images, seen, is_labelled=is_labelled)
        if isinstance(example, str):
            problems.append(f"{table.name} line {line.number}: {example}")
        else:
            examples.append(example)
            seen[example.name] = line
    return examples


def _read_line(
    line: CsvRow, images: Mapping[str, Path], seen: Mapping[str, CsvRow], *, is_labelled: bool
) -> Example | str:
    """Return the image and label of a row, or its problem."""
    given = line.cells.get("id", "").strip()
    name = image_name(given) if given else "the row"
    label = _label(line)
    if line.fault:
        return f"{name} has {line.fault}"
    if not given:
        return "the row has no id"
    if name in seen:
        conflict = "" if _label(seen[name]) == label else ", which has another label"
        return f"{name} is listed twice; the first line ({seen[name].number}) counts{conflict}"
    if is_labelled and label not in ("0", "1"):
        return f"{name} has the label {_text(line)!r} instead of 0 or 1"
    if name not in images:
        folder = re.search(r"[/\\]", given)
        return f"{given} names a folder: name the file alone" if folder else f"{name} has no image"
    glasses = label == "1" if is_labelled else None
    return Example(name, images[name], glasses, line.cells.get("source", "").strip(), glasses)


def _label(line: CsvRow) -> str:
    """Return the label of a row, empty if there is none."""
    text = _text(line)
    return "" if text.lower() in _NO_LABEL else _whole(text) or text


def _text(line: CsvRow) -> str:
    return line.cells.get("glasses", "").strip()
