"""CSV tables that people and spreadsheets write: each line is one row, or an error names it."""

import csv
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from training.errors import DataError

# A thousand numbers take a fiftieth of it.
_MOST_CHARACTERS = 2**20
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row: the number of its line from 1 on, and its cells by column; or what is wrong with it."""

    number: int
    cells: dict[str, str]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class CsvTable:
    """The columns of a table, without spaces around their names, and its rows. Blank lines are left out."""

    columns: tuple[str, ...]
    lines: tuple[CsvRow, ...]


def read_table(path: Path, required: Collection[str], *, optional: Collection[str] = ()) -> CsvTable:
    """Read a table with a header. A row with too few or too many cells has a fault.

    Args:
        path: the file, UTF-8 with or without a byte order mark, lines ended by LF, CRLF or CR.
        required: columns that must be there.
        optional: columns that count where they are there: a name like one of them, such as ` Glasses`, is a mistake.

    Raises:
        DataError: it is not UTF-8 or not a CSV, a quote is not closed on its line, a column is missing, there twice or
            misspelt.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            records = _records(path, file)
            number, header = next(records, (0, []))
            if not number:
                raise DataError(f"{path} is empty: it has no column {_listed(required)}")
            columns = tuple(cell.strip() for cell in header)
            _check_columns(path, columns, required, optional)
            return CsvTable(columns, tuple(_line(number, cells, columns) for number, cells in records))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}; save it as UTF-8") from error


def _records(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Each record with its line. A quote that is open at the end of its line would swallow the lines behind it."""
    for number, text in enumerate(iter(lambda: file.readline(_MOST_CHARACTERS), ""), start=1):
        if "\0" in text:
            raise DataError(f"{path} line {number} holds a NUL character: save the table as UTF-8, not as UTF-16")
        if len(text) == _MOST_CHARACTERS:
            raise DataError(f"{path} line {number} has more than {_MOST_CHARACTERS:,} characters: it is not a table")
        try:
            cells = next(csv.reader([text.rstrip("\r\n")], strict=True), [])
        except csv.Error as error:
            raise DataError(f"{path} line {number}: {_explain(error, text)}") from error
        if any(cell.strip() for cell in cells):
            yield number, cells


def _explain(error: csv.Error, text: str) -> str:
    if text.count('"') % 2:
        return "a quotation mark is opened and not closed on this line; a row must not go on over several lines"
    return f"{error}: quote a cell whole, and double the quotation marks in it"


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
    if len(columns) == 1:
        for separator, name in _SEPARATORS.items():
            if separator in text:
                return f": its cells are separated by {name}; separate them by commas"
    return f", only {', '.join(columns[:8])}{' ...' if len(columns) > 8 else ''}"


def _line(number: int, cells: list[str], columns: Sequence[str]) -> CsvRow:
    extra = cells[len(columns) :]
    fault = ""
    if len(cells) < len(columns) or any(cell.strip() for cell in extra):
        fault = f"{len(cells)} cells instead of {len(columns)}"
    return CsvRow(number, dict(zip(columns, cells, strict=False)), fault)


def _listed(names: Collection[str]) -> str:
    return " or ".join(sorted(names))
