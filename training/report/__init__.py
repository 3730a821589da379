"""Write a report about one model: data, training, metrics, calibration, guarantee and reproduction."""

import re
from collections.abc import Iterator
from pathlib import Path

from common.storage import require_place
from gate.files import write_atomically
from training.figures import as_png
from training.report.certificate import certificate
from training.report.comparisons import comparison, issues, studies
from training.report.evidence import Evidence, ReportSources, gather
from training.report.mistakes import mistakes
from training.report.novelty import unfamiliar
from training.report.page import MissingSection, Section, render
from training.report.reproduction import absent, maps, repeat
from training.report.results import calibration, results
from training.report.selection import band, discarded
from training.report.summary import summary
from training.report.training_run import data, training

__all__ = ["PAGE_FILE", "ReportSources", "write_report"]

PAGE_FILE = "report.html"

_SECTIONS = (
    data, training, results, mistakes, calibration, certificate, band, unfamiliar, discarded,
    issues, studies, comparison, maps, repeat,
)  # fmt: skip


def write_report(sources: ReportSources, out: Path, *, figures: Path | None = None) -> Path:
    """Write the page, and optionally each figure as a PNG file.

    Args:
        sources: locations of all inputs.
        out: file name that ends in `.html`, or folder for `report.html`.
        figures: folder for the PNG files.

    Returns: the path of the page.

    Raises:
        StorageError: a file cannot be written; this is known before the images are scored.
        TrainingError: an input is unfinished, or inputs do not belong together.
    """
    page = out if out.suffix == ".html" else out / PAGE_FILE
    require_place(page)
    if figures is not None:
        require_place(figures / "figure.png")
    evidence = gather(sources)
    sections = list(_sections(evidence))
    title = f"Lensgate: {evidence.card.name}, version {evidence.card.version}"
    write_atomically(page, render(title, summary(evidence), sections).encode())
    if figures is not None:
        _save_figures(sections, figures)
    return page


def _save_figures(sections: list[Section], folder: Path) -> None:
    """Save the figures as PNG files, numbered in the order of the page."""
    figures = (figure for section in sections for figure in section.figures())
    for number, shown in enumerate(figures, start=1):
        # It contains names of data sets, which may contain any character.
        name = re.sub(r"[^A-Za-z0-9]+", "-", shown.name).strip("-")
        write_atomically(folder / f"{number:02d}-{name}.png", as_png(shown.drawn()))


def _sections(evidence: Evidence) -> Iterator[Section]:
    lacking = []
    for make in _SECTIONS:
        section = make(evidence)
        if isinstance(section, MissingSection):
            lacking.append(section)
        else:
            yield section
    if lacking:
        yield absent(lacking)
