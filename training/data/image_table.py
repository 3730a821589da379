"""`images.csv`: of every image that is kept its label, its source, and the split it is in."""

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

from training.data.dataset import Split


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image; its fields are the columns. `given` is the label before corrections, `sha256` the file's."""

    data_set: str
    name: str
    source: str
    split: Split
    glasses: bool
    given: bool
    sha256: str


def to_csv(rows: Sequence[ImageRow]) -> bytes:
    """The rows as CSV, labels as 1 and 0."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(field.name for field in fields(ImageRow))
    table.writerows([int(cell) if isinstance(cell, bool) else cell for cell in astuple(row)] for row in rows)
    return text.getvalue().encode()


def from_csv(table: bytes) -> list[ImageRow]:
    """Back from what `to_csv` made."""
    return [
        ImageRow(
            **{key: row[key] for key in ("data_set", "name", "source", "sha256")},
            split=Split(row["split"]),
            glasses=row["glasses"] == "1",
            given=row["given"] == "1",
        )
        for row in csv.DictReader(io.StringIO(table.decode(), newline=""))
    ]
