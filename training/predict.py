"""Write probability and decision for every image of a folder to a table."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.terminal import escape_formula
from common.webdataset import OTHER_ENDINGS
from gate import Action, Model
from gate.files import atomic_file
from gate.header import IMAGE_ENDINGS
from gate.pixels import Pixels
from gate.scorer import Scorer
from training.data.csv_table import csv_text
from training.data.dataset import TABLES, read_unlabelled, require_folder
from training.data.image_folders import IMAGE_FOLDERS, describe_ignored, describe_other
from training.data.progress import progress_bar
from training.data.shards import decode_images
from training.errors import DataError
from training.evaluation.evaluate import score_images

COLUMNS = ("id", "glasses_probability", "label", "decision", "reason", "novelty", "error")
BATCH = 256


@dataclass(frozen=True, slots=True)
class PredictionCounts:
    """Numbers of accepted, discarded and unreadable images."""

    accept: int
    discard: int
    error: int


def find_images(folder: Path) -> tuple[list[Path], list[str]]:
    """Find the images to predict: those of `test.csv` without a label, or else all in the folder, sorted by name.

    Returns the images, and one line for each row of the table, image in another format and folder that was skipped.

    Raises:
        DataError: the folder does not exist or contain an image, or the table names none that exists.
    """
    require_folder(folder)
    unlabelled, problems = read_unlabelled(folder)
    if unlabelled:
        return [example.path for example in unlabelled], problems
    if problems:
        raise DataError(f"no image of {folder / 'test.csv'} was found: {'; '.join(problems[:3])}")
    folders = (".", *IMAGE_FOLDERS[:-1])
    for number, candidate in enumerate(folders, start=1):
        # Beside each image, archives from macOS hold its metadata under the same name behind `._`.
        files = [path for path in sorted((folder / candidate).glob("*")) if not path.name.startswith("._")]
        if found := [path for path in files if path.suffix.lower() in IMAGE_ENDINGS]:
            problems = [describe_other(path) for path in files if path.suffix.lower() in OTHER_ENDINGS]
            return found, [*problems, *describe_ignored(folder, folders[number:], read=candidate, pattern="*")]
    raise DataError(f"{folder} does not contain an image: file names must end in {', '.join(IMAGE_ENDINGS)}")


def check_place(out: Path, folder: Path) -> None:
    """Raise DataError if the predictions would take the place of a table of the data set, or `out` is a folder."""
    if out.is_dir():
        raise DataError(f"{out} is a folder: name the table to write, such as {out / 'predictions.csv'}")
    # On most file systems of macOS and Windows, TRAIN.CSV is the same file.
    if any(table.exists() and out.exists() and out.samefile(table) for table in (folder / name for name in TABLES)):
        raise DataError(f"{out} is a table of the data set: name another place for the predictions")


def predict_images(model: Model, images: Sequence[Path], out: Path) -> PredictionCounts:
    """Write one row per image, in order; an unreadable image has an error instead of a decision.

    Raises:
        OSError: `out` cannot be written; also this is known before the images are read.
    """
    with atomic_file(out) as temporary:
        rows = list(_rows(Scorer(model, device="cpu"), model, images))
        text = csv_text([COLUMNS, *([escape_formula(cell) for cell in row] for row in rows)])
        temporary.write_bytes(text.encode(errors="surrogateescape"))
    decisions = [row[3] for row in rows]
    return PredictionCounts(decisions.count(Action.ACCEPT), decisions.count(Action.DISCARD), decisions.count(""))


def _rows(scorer: Scorer, model: Model, images: Sequence[Path]) -> Iterator[tuple[object, ...]]:
    read = progress_bar(decode_images(images, scorer.size), title="predict", total=len(images), unit="image")
    for batch in _batched(zip(_names(images), read, strict=True)):
        good = [pixels for _, pixels in batch if not isinstance(pixels, str)]
        lines = _lines(scorer, model, good)
        for name, pixels in batch:
            yield (name, "", "", "", "", "", pixels) if isinstance(pixels, str) else (name, *next(lines), "")


def _names(images: Sequence[Path]) -> list[str]:
    """Return the id of each image, or its file name if another has the same id."""
    short = [path.stem.removeprefix("face-") for path in images]
    counts = Counter(short)
    return [name if counts[name] == 1 else path.name for name, path in zip(short, images, strict=True)]


def _lines(scorer: Scorer, model: Model, good: Sequence[Pixels]) -> Iterator[tuple[object, ...]]:
    if not good:
        return
    judged = score_images(scorer, model.card, np.stack(good))
    for score, decision in zip(judged.scores, judged.decisions, strict=True):
        novelty = "" if score.novelty is None else score.novelty
        yield score.probability, decision.label, decision.action, decision.reason, novelty


def _batched(pairs: Iterable[tuple[str, Pixels | str]]) -> Iterator[list[tuple[str, Pixels | str]]]:
    pairs = iter(pairs)
    while batch := list(itertools.islice(pairs, BATCH)):
        yield batch
