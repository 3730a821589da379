"""Labelled faces on disk, in the layout of Kaggle's *Glasses or No Glasses*.

`train.csv` has the columns `id` and `glasses` (1 or 0); any others, the 512 latent ones among them, are passed over.
`test.csv` has `id` and, in some data sets, `glasses`. Images are `face-<id>.png` or another ending, in one of the
folders of `IMAGE_FOLDERS`. An `about.json` beside them, if there is one, names `source` and `licence`. A column
`source`, if there is one, says which generator or collection an image is from. Corrections of labels lie in a table of
their own, `corrections.csv` with `id`, `label` and `reason`: what was given is never edited.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from gate import Label
from gate.header import IMAGE_ENDINGS
from training.errors import DataError

ABOUT_FILE = "about.json"
CORRECTIONS_FILE = "corrections.csv"
UNCLEAR = "unclear"
IMAGE_FOLDERS = ("faces-spring-2020/faces-spring-2020", "faces-spring-2020", "faces", ".")


class Split(StrEnum):
    """What a part of a data set is used for.

    Fitting; choosing when to stop; temperature, novelty threshold and certificate; nothing but the final figures.
    """

    TRAIN = "train"
    VALIDATION = "validation"
    CALIBRATION = "calibration"
    TEST = "test"


class About(BaseModel):
    """Where a data set comes from and under which terms; a model learned from it repeats both in its card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = "not stated"
    licence: str = "not stated"


@dataclass(frozen=True, slots=True)
class Example:
    """One image; `glasses` is None where the data set does not say, `given` is the label before corrections."""

    name: str
    path: Path
    glasses: bool | None
    source: str = ""
    given: bool | None = None


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person says of one image; `glasses` is None where they cannot tell."""

    glasses: bool | None
    reason: str


@dataclass(frozen=True, slots=True)
class DataSet:
    """What `train.csv` and `test.csv` list and the disk holds; `problems` names, a line each, what it does not.

    An `auxiliary` one is learned from and tested on, but nothing is promised of its kind: it neither stops the
    training nor calibrates nor certifies.
    """

    name: str
    folder: Path
    about: About
    train: tuple[Example, ...]
    test: tuple[Example, ...]
    problems: tuple[str, ...]
    auxiliary: bool = False


def read_dataset(folder: Path, *, corrections: Path | None = None) -> DataSet:
    """Read the lists of a data set and find its images. No image is opened.

    An image that `test.csv` lists with a label is not trained on, whatever `train.csv` says. `corrections` is by
    default the `corrections.csv` in the folder, if there is one; what it calls unclear is left out.

    Raises:
        DataError: there is no `train.csv`, a table is not UTF-8 or lacks a column, or not one labelled image is found.
    """
    table = folder / "train.csv"
    if not table.is_file():
        raise DataError(f"{table} does not exist: --data wants a folder in the Kaggle layout, with train.csv in it")
    images = _find_images(folder)
    problems: list[str] = []
    changes = read_corrections(corrections or folder / CORRECTIONS_FILE, required=corrections is not None)
    test_table = folder / "test.csv"
    in_train = _read_table(table, images, problems)
    in_test = _read_table(test_table, images, problems) if test_table.is_file() else []
    listed, test = (_corrected(examples, changes, problems) for examples in (in_train, in_test))
    known = {example.name for example in (*in_train, *in_test)}
    problems += [f"corrections: {name} is in no table" for name in sorted(changes.keys() - known)]
    held_out = {example.name for example in test if example.glasses is not None}
    problems += [
        f"train.csv: {one.name} is in test.csv too, and kept for testing" for one in listed if one.name in held_out
    ]
    train = tuple(example for example in listed if example.name not in held_out)
    if not train:
        raise DataError(f"not one labelled image was found under {folder}: {'; '.join(problems[:3])}")
    return DataSet(folder.absolute().name, folder, _read_about(folder), train, tuple(test), tuple(problems))


def read_corrections(table: Path, *, required: bool = True) -> dict[str, Correction]:
    """Read `id,label,reason`; the last line about an image counts. None of it where the table is not `required`.

    Raises:
        DataError: the table is not there, is not UTF-8, lacks a column, or a label is not one of the three.
    """
    if not table.is_file():
        if required:
            raise DataError(f"{table} does not exist: corrections are a CSV with the columns id, label and reason")
        return {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if missing := {"id", "label", "reason"} - set(rows.fieldnames or []):
                raise DataError(f"{table} has no column {' or '.join(sorted(missing))}")
            return {_name(row["id"]): _correction(table, row) for row in rows}
    except UnicodeDecodeError as error:
        raise DataError(f"{table} is not UTF-8: {error}") from error


def _correction(table: Path, row: dict[str, str | None]) -> Correction:
    label = (row["label"] or "").strip()
    if label not in (*Label, UNCLEAR):
        raise DataError(f"{table}: {row['id']} has the label {label!r} instead of {', '.join(Label)} or {UNCLEAR}")
    return Correction(None if label == UNCLEAR else label == Label.GLASSES, (row["reason"] or "").strip())


def _corrected(examples: list[Example], changes: dict[str, Correction], problems: list[str]) -> list[Example]:
    kept = []
    for example in examples:
        change = changes.get(example.name)
        if change is None:
            kept.append(example)
        elif change.glasses is None:
            problems.append(f"corrections: {example.name} is left out as unclear: {change.reason or 'no reason given'}")
        else:
            kept.append(replace(example, glasses=change.glasses))
    return kept


def _name(text: str | None) -> str:
    # Kaggle's own file writes some integers as floats; people write both 12 and face-12.
    return f"face-{(text or '').strip().removeprefix('face-').removesuffix('.0')}"


def _read_about(folder: Path) -> About:
    path = folder / ABOUT_FILE
    if not path.is_file():
        return About()
    try:
        return About.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f'{path} is not {{"source": "...", "licence": "..."}}: {error}') from error


def _find_images(folder: Path) -> dict[str, Path]:
    for candidate in IMAGE_FOLDERS:
        found = {path.stem: path for path in _images_in(folder / candidate)}
        if found:
            return found
    return {}


def _images_in(folder: Path) -> Iterator[Path]:
    # Sorted, so that of two files of one stem the same one is taken on every machine.
    return (path for path in sorted(folder.glob("face-*")) if path.suffix.lower() in IMAGE_ENDINGS)


def _read_table(table: Path, images: dict[str, Path], problems: list[str]) -> list[Example]:
    try:
        return list(_read_rows(table, images, problems))
    except UnicodeDecodeError as error:
        raise DataError(f"{table} is not UTF-8: {error}") from error


def _read_rows(table: Path, images: dict[str, Path], problems: list[str]) -> Iterator[Example]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        columns = rows.fieldnames or []
        wanted = {"id", "glasses"} if table.name == "train.csv" else {"id"}
        if missing := wanted - set(columns):
            raise DataError(f"{table} has no column {' or '.join(sorted(missing))}")
        seen: set[str] = set()
        for row in rows:
            name = _name(row["id"])
            label = (row.get("glasses") or "").strip().removesuffix(".0")
            if name in seen:
                problems.append(f"{table.name}: {name} is listed twice; the first line counts")
            elif label not in ("0", "1", "") or (label == "" and "glasses" in columns):
                problems.append(f"{table.name}: {name} has the label {label!r} instead of 0 or 1")
            elif name not in images:
                problems.append(f"{table.name}: {name} has no image")
            else:
                glasses = None if label == "" else label == "1"
                yield Example(name, images[name], glasses, (row.get("source") or "").strip(), glasses)
            seen.add(name)
