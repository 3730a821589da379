"""One page about one model: what it learned from, how good it is, where it is unsure, and how to have it again."""

import re
from collections.abc import Iterator
from pathlib import Path

from gate.files import write_atomically
from training.figures import as_png
from training.report.beyond import comparison, issues, studies
from training.report.evidence import Evidence, Sources, gather
from training.report.kept import band, certificate, discarded
from training.report.learning import data, training
from training.report.page import Absent, Section, Shown, render
from training.report.repeat import absent, maps, repeat
from training.report.results import calibration, results
from training.report.summary import summary
from training.report.unfamiliar import unfamiliar

__all__ = ["PAGE_FILE", "Sources", "write_report"]

PAGE_FILE = "report.html"

_SECTIONS = (
    data, training, results, calibration, certificate, band, unfamiliar, discarded,
    issues, studies, comparison, maps, repeat,
)  # fmt: skip


def write_report(sources: Sources, out: Path, *, figures: Path | None = None) -> Path:
    """Write the page, and each of its figures as a PNG file where a folder for them is given.

    Args:
        sources: where everything lies.
        out: the file, which ends in `.html`, or the folder for `report.html`.
        figures: folder for the figures.

    Returns: where the page is.

    Raises:
        TrainingError: something is not finished, or does not belong together.
    """
    page = out if out.suffix == ".html" else out / PAGE_FILE
    evidence = gather(sources)
    sections = list(_sections(evidence))
    title = f"Lensgate: {evidence.card.name}, version {evidence.card.version}"
    write_atomically(page, render(title, summary(evidence), sections).encode())
    if figures is not None:
        _save_figures(sections, figures)
    return page


def _save_figures(sections: list[Section], folder: Path) -> None:
    """As PNG files, numbered in the order of the page."""
    figures = [part for section in sections for part in section.parts if isinstance(part, Shown)]
    for number, shown in enumerate(figures, start=1):
        # Names of data sets are in it, which may hold anything.
        name = re.sub(r"[^A-Za-z0-9]+", "-", shown.name).strip("-")
        write_atomically(folder / f"{number:02d}-{name}.png", as_png(shown.figure))


def _sections(evidence: Evidence) -> Iterator[Section]:
    lacking = []
    for make in _SECTIONS:
        found = make(evidence)
        if isinstance(found, Absent):
            lacking.append(found)
        else:
            yield found
    if lacking:
        yield absent(lacking)
