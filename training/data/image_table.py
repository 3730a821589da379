"""`images.csv`: label, source and split of every image in the records."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

from gate import Label
from training.data.csv_table import csv_text
from training.data.dataset import Split

LabelTable = Mapping[tuple[str, str], bool]
"""Whether an image shows glasses, by data set and name."""


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image; fields are columns. `given` is the label before corrections, `sha256` the hash of the file."""

    data_set: str
    name: str
    source: str
    split: Split
    glasses: bool
    given: bool
    sha256: str


def to_csv(rows: Sequence[ImageRow]) -> bytes:
    """Serialize the rows as CSV, labels as 1 and 0."""
    head = [field.name for field in fields(ImageRow)]
    cells = ([int(cell) if isinstance(cell, bool) else cell for cell in astuple(row)] for row in rows)
    return csv_text([head, *cells]).encode()


def from_csv(table: bytes) -> list[ImageRow]:
    """Parse the output of `to_csv`."""
    return [
        ImageRow(
            **{key: row[key] for key in ("data_set", "name", "source", "sha256")},
            split=Split(row["split"]),
            glasses=row["glasses"] == "1",
            given=row["given"] == "1",
        )
        for row in csv.DictReader(io.StringIO(table.decode(), newline=""))
    ]


def count_labels(data_set: str, rows: Sequence[ImageRow]) -> dict[str, dict[Label, int]]:
    """Count the images of a data set by split and label, as the card states them; empty splits are left out."""
    counts = Counter((row.split, row.glasses) for row in rows if row.data_set == data_set)
    splits = (split for split in Split if counts[split, True] or counts[split, False])
    return {
        split.value: {Label.GLASSES: counts[split, True], Label.NO_GLASSES: counts[split, False]} for split in splits
    }
