"""The step that describes a model: `report`."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from common.storage import AnyPath
from common.terminal import say
from training.cli import options as option
from training.cli.options import Steps, add_step


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """The options of `report`."""

    records: AnyPath
    run_folder: Path
    models: Path
    version: str | None
    data: tuple[Path, ...]
    audit: Path | None
    studies: tuple[AnyPath, ...]
    comparison: AnyPath | None
    out: Path
    figures: Path | None


def add_to(steps: Steps) -> None:
    """Add this step."""
    add_step(
        steps,
        "report",
        title="write a self-contained page about a model, with all figures",
        options=ReportOptions,
        run=write,
        arguments=[option.records, option.run, option.models, _arguments],
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--data",
        type=option.local,
        action="append",
        default=[],
        metavar="DIR",
        help="folder of a data set of the records, if it has moved; links mistakes to their files; may be repeated",
    )
    add("--audit", type=option.local, metavar="DIR", help="folder of a label audit; adds its worst labels")
    add(
        "--study",
        type=option.place,
        action="append",
        default=[],
        dest="studies",
        metavar="DIR",
        help="folder of a study; adds its results; may be repeated",
    )
    add("--comparison", type=option.place, metavar="DIR", help="folder of a model comparison; adds its results")
    title = "folder for report.html, or a file name that ends in .html (runs)"
    add("--out", type=option.local, default=Path("runs"), metavar="DIR", help=title)
    add("--figures", type=option.local, metavar="DIR", help="also save each figure there as a PNG file")


def write(options: ReportOptions) -> None:
    """Write the page."""
    from training.report import ReportSources, write_report

    sources = ReportSources(
        records=options.records,
        run=options.run_folder,
        models=options.models,
        version=options.version,
        data=options.data,
        audit=options.audit,
        studies=options.studies,
        comparison=options.comparison,
    )
    page = write_report(sources, options.out, figures=options.figures)
    say(f"{page}: {page.stat().st_size / 1e6:.1f} MB")
