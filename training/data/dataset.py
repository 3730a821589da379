"""Labelled faces on disk, in the layout of Kaggle's *Glasses or No Glasses*.

`train.csv` has the columns `id` and `glasses` (1 or 0); any others, the 512 latent ones among them, are passed over.
`test.csv` has `id` and, in some data sets, `glasses`. Images are `face-<id>.png` or another ending, in one of the
folders of `IMAGE_FOLDERS`. An `about.json` beside them, if there is one, names `source` and `licence`. A column
`source`, if there is one, says which generator or collection an image is from. Corrections of labels lie in a table of
their own, `corrections.csv` with `id`, `label` and `reason`: what was given is never edited.

Each line of a table is one row: it is read, or named with its number among the problems or in an error.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from gate import Label
from gate.header import IMAGE_ENDINGS
from training.data.csv_table import CsvRow, read_table
from training.errors import DataError

PROVENANCE_FILE = "about.json"
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


class Provenance(BaseModel):
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
class ImageDataSet:
    """What `train.csv` and `test.csv` list and the disk holds; `problems` names, a line each, what it does not.

    An `auxiliary` one is learned from and tested on, but nothing is promised of its kind: it neither stops the
    training nor calibrates nor certifies.
    """

    name: str
    folder: Path
    about: Provenance
    train: tuple[Example, ...]
    test: tuple[Example, ...]
    problems: tuple[str, ...]
    auxiliary: bool = False


def read_dataset(folder: Path, *, corrections: Path | None = None) -> ImageDataSet:
    """Read the lists of a data set and find its images. No image is opened.

    An image that `test.csv` lists with a label is not trained on, whatever `train.csv` says. `corrections` is by
    default the `corrections.csv` in the folder, if there is one; what it calls unclear is left out.

    Raises:
        DataError: there is no `train.csv`, a table cannot be read or lacks a column, or no labelled image is found.
    """
    table = folder / "train.csv"
    if not table.is_file():
        raise DataError(f"{table} does not exist: --data wants a folder in the Kaggle layout, with train.csv in it")
    problems: list[str] = []
    images = _find_images(folder, problems)
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
    return ImageDataSet(folder.absolute().name, folder, _read_about(folder), train, tuple(test), tuple(problems))


def read_corrections(table: Path, *, required: bool = True) -> dict[str, Correction]:
    """Read `id,label,reason`; the last line about an image counts. None of it where the table is not `required`.

    Raises:
        DataError: the table is not there, cannot be read, lacks a column, or a label is not one of the three.
    """
    if not table.is_file():
        if required:
            raise DataError(f"{table} does not exist: corrections are a CSV with the columns id, label and reason")
        return {}
    lines = read_table(table, {"id", "label", "reason"}).lines
    return {_name(line.cells.get("id", "")): _correction(table, line) for line in lines}


def _correction(table: Path, line: CsvRow) -> Correction:
    if line.fault:
        raise DataError(f"{table} line {line.number} has {line.fault}: quote a reason that holds a comma")
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
        if change is None:
            kept.append(example)
        elif change.glasses is None:
            problems.append(f"corrections: {example.name} is left out as unclear: {change.reason or 'no reason given'}")
        else:
            kept.append(replace(example, glasses=change.glasses))
    return kept


def _name(text: str) -> str:
    # Kaggle's own file writes some integers as floats; people write both 12 and face-12.
    return f"face-{text.strip().removeprefix('face-').removesuffix('.0')}"


def _read_about(folder: Path) -> Provenance:
    path = folder / PROVENANCE_FILE
    if not path.is_file():
        return Provenance()
    try:
        return Provenance.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f'{path} is not {{"source": "...", "licence": "..."}}: {error}') from error


def _find_images(folder: Path, problems: list[str]) -> dict[str, Path]:
    for candidate in IMAGE_FOLDERS:
        found: dict[str, Path] = {}
        for path in _images_in(folder / candidate):
            if path.stem in found:
                problems.append(f"{found[path.stem].name} is passed over: {path.name} has the same name")
            found[path.stem] = path
        if found:
            return found
    return {}


def _images_in(folder: Path) -> Iterator[Path]:
    # Sorted, so that of two files of one stem the same one is taken on every machine.
    return (path for path in sorted(folder.glob("face-*")) if path.suffix.lower() in IMAGE_ENDINGS)


def _read_table(table: Path, images: dict[str, Path], problems: list[str]) -> list[Example]:
    required = {"id", "glasses"} if table.name == "train.csv" else {"id"}
    found = read_table(table, required, optional={"glasses", "source"})
    seen: dict[str, int] = {}
    examples = []
    for line in found.lines:
        example = _read_line(line, images, seen, is_labelled="glasses" in found.columns)
        if isinstance(example, str):
            problems.append(f"{table.name} line {line.number}: {example}")
        else:
            examples.append(example)
        seen.setdefault(_name(line.cells["id"]), line.number)
    return examples


def _read_line(
    line: CsvRow, images: Mapping[str, Path], seen: Mapping[str, int], *, is_labelled: bool
) -> Example | str:
    """The row's image and label, or what is wrong with it."""
    name = _name(line.cells["id"])
    label = line.cells.get("glasses", "").strip().removesuffix(".0")
    if line.fault:
        return f"{name} has {line.fault}"
    if name in seen:
        return f"{name} is listed twice; the first line ({seen[name]}) counts"
    if is_labelled and label not in ("0", "1"):
        return f"{name} has the label {label!r} instead of 0 or 1"
    if name not in images:
        return f"{name} has no image"
    glasses = label == "1" if is_labelled else None
    return Example(name, images[name], glasses, line.cells.get("source", "").strip(), glasses)
