"""Read and write CSV tables. In tables of people and spreadsheets every line is one row, or an error names it."""

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from training.errors import DataError

# A row of a thousand numbers takes a fiftieth of this.
_MAX_CHARACTERS = 2**20
_ESCAPED = re.compile("[\udc80-\udcff]")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_FOREIGN = {
    b"PK\x03\x04": "a ZIP archive or a workbook of a spreadsheet: unpack it, or save the table as CSV",
    b"\x1f\x8b": "gzip data: unpack it",
    b"version https://git-lfs": "a pointer of Git LFS in place of the file: run `git lfs pull`",
}
"""First bytes of files that are often in the place of a table. Kaggle's own command downloads single files as ZIP."""


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row: its line number, starting at 1, and its cells by column; `fault` says why it is invalid."""

    number: int
    cells: dict[str, str]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class CsvTable:
    """The column names, stripped of spaces, and the rows; blank lines are skipped."""

    columns: tuple[str, ...]
    lines: tuple[CsvRow, ...]


def read_table(path: Path, required: Collection[str], *, optional: Collection[str] = ()) -> CsvTable:
    """Read a table with a header; a row with too few or too many cells has a fault.

    Args:
        path: UTF-8 file with or without a byte order mark; lines end with LF, CRLF or CR.
        required: columns that must exist.
        optional: columns that may exist; a misspelling of one, such as ` Glasses`, is an error.

    Raises:
        DataError: the file is not a UTF-8 CSV, a quote is not closed on its line, or a column is missing, duplicated
            or misspelt.
    """
    _refuse_foreign(path)
    # A decoder that raises names a position within its buffer. Invalid bytes become surrogates, which `_records` finds.
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        records = _records(path, file)
        number, header = next(records, (0, []))
        if not number:
            raise DataError(f"{path} is empty: it needs the column {_listed(required)}")
        columns = tuple(cell.strip() for cell in header)
        _check_columns(path, columns, required, optional)
        return CsvTable(columns, tuple(_line(number, cells, columns) for number, cells in records))


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV; lines end with LF."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _refuse_foreign(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(max(map(len, _FOREIGN)))
    for magic, name in _FOREIGN.items():
        if start.startswith(magic):
            raise DataError(f"{path} is {name}")


def _records(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with its line number; parsing line by line keeps an open quote from consuming later lines."""
    for number, text in enumerate(iter(lambda: file.readline(_MAX_CHARACTERS), ""), start=1):
        if "\0" in text:
            raise DataError(f"{path} line {number} contains a NUL character: save the table as UTF-8, not as UTF-16")
        if not text.isascii() and (bad := _ESCAPED.search(text)):
            byte = f"0x{ord(bad[0]) - 0xDC00:02X}"
            raise DataError(f"{path} line {number} has the byte {byte}, which is not UTF-8: save the table as UTF-8")
        if len(text) == _MAX_CHARACTERS:
            raise DataError(f"{path} line {number} has more than {_MAX_CHARACTERS:,} characters; is this a CSV table?")
        try:
            cells = next(csv.reader([text.rstrip("\r\n")], strict=True, skipinitialspace=True), [])
        except csv.Error as error:
            raise DataError(f"{path} line {number}: {_explain(error, text)}") from error
        if any(cell.strip() for cell in cells):
            yield number, cells


def _explain(error: csv.Error, text: str) -> str:
    if text.count('"') % 2:
        return "a quotation mark is not closed on this line; a row must not span several lines"
    if len(text) > csv.field_size_limit():
        return f"a cell has more than {csv.field_size_limit():,} characters; is this a CSV table?"
    return f"{error}: quote the whole cell, and double quotation marks inside it"


def _check_columns(path: Path, columns: Sequence[str], required: Collection[str], optional: Collection[str]) -> None:
    known = {*required, *optional}
    if missing := set(required) - set(columns):
        raise DataError(f"{path} has no column {_listed(missing)}{_hint(columns)}")
    for name in columns:
        if name in known and columns.count(name) > 1:
            raise DataError(f"{path} has the column {name} twice: remove one of them")
        if name not in known and name.lower() in known:
            raise DataError(f"{path} has a column {name!r}: call it {name.lower()}")


def _hint(columns: Sequence[str]) -> str:
    text = "".join(columns)
    if text.lower().startswith("sep="):
        return ": delete the first line, which tells a spreadsheet the separator"
    if len(columns) == 1:
        for separator, name in _SEPARATORS.items():
            if separator in text:
                return f": its cells are separated by {name}; separate them by commas"
    return f", only {', '.join(columns[:8])}{' ...' if len(columns) > 8 else ''}"


def _line(number: int, cells: list[str], columns: Sequence[str]) -> CsvRow:
    extra = cells[len(columns) :]
    fault = ""
    if len(cells) < len(columns) or any(cell.strip() for cell in extra):
        fault = f"{len(cells)} cell{'s' if len(cells) != 1 else ''} instead of {len(columns)}"
    return CsvRow(number, dict(zip(columns, cells, strict=False)), fault)


def _listed(names: Collection[str]) -> str:
    return " or ".join(sorted(names))
