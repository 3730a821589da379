"""Markdown tables, printed and stored between two marks of a document, so that a test can compare them."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class DocumentError(ValueError):
    """A document lacks the marks of a table; the text names them."""


@dataclass(frozen=True, slots=True)
class MarkdownTable:
    """A table of text cells; `name` is its mark in a document."""

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def refresh(file: Path, blocks: Mapping[str, str]) -> None:
    """Put each block between its marks, `<!-- NAME -->` and `<!-- / -->`, replacing the old text.

    Raises:
        DocumentError: a block has no marks; the document is unchanged.
    """
    document = file.read_text(encoding="utf-8")
    for name, block in blocks.items():
        match = _pattern(re.escape(name)).search(document)
        if match is None:
            raise DocumentError(f"{file} has no place for {name}: write <!-- {name} --> and <!-- / --> where it goes")
        document = f"{document[: match.start('block')]}\n{block}\n{document[match.end('block') :]}"
    file.write_text(document, encoding="utf-8")


def blocks(file: Path) -> dict[str, str]:
    """Return the text between the marks of a document, by name."""
    matches = _pattern("[a-z0-9-]+").finditer(file.read_text(encoding="utf-8"))
    return {one["name"]: one["block"].strip("\n") for one in matches}


def by_name(tables: Iterable[MarkdownTable]) -> dict[str, str]:
    """Return the text of each table."""
    return {table.name: str(table) for table in tables}


def number(value: float, digits: int = 3) -> str:
    """Format with a number of significant digits and commas: 1,230,000; 12.3; 0.0123; a dash for NaN."""
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits}g}")
    places = max(0, digits - len(str(int(abs(rounded)))) if abs(rounded) >= 1 else _places(rounded, digits))
    return f"{rounded:,.{places}f}"


def power(value: float) -> str:
    """Write 100000 as 10^5, and other numbers unchanged."""
    text = f"{value:.0e}"
    mantissa, _, exponent = text.partition("e")
    return f"10^{int(exponent)}" if mantissa == "1" and float(text) == value else number(value)


def _places(value: float, digits: int) -> int:
    return digits - 1 - int(f"{value:e}".partition("e")[2])


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"<!-- (?P<name>{name}) -->(?P<block>.*?)<!-- / -->", re.DOTALL)
