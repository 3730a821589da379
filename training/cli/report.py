"""The step that tells of a model: `report`."""

import argparse
from pathlib import Path

from training.cli import options as option
from training.cli.options import Steps, add_step


def add_to(steps: Steps) -> None:
    """Add this step."""
    title = "write one page about a model, with every figure in it"
    add_step(steps, "report", run, title, [option.records, option.run, option.models, _options])


def _options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--audit", type=option.local, metavar="DIR", help="folder of an audit of the labels, to show the worst")
    add(
        "--study",
        type=option.place,
        action="append",
        default=[],
        dest="studies",
        metavar="DIR",
        help="folder of a study, to show its table; may be given again",
    )
    add("--comparison", type=option.place, metavar="DIR", help="folder of a comparison of models, to show it")
    title = "report.html goes there, or the name of a .html file (runs)"
    add("--out", type=option.local, default=Path("runs"), help=title)
    add("--figures", type=option.local, metavar="DIR", help="save each figure there as a PNG file as well")


def run(options: argparse.Namespace) -> None:
    """Write the page."""
    from training.report import Sources, write_report

    sources = Sources(
        records=options.records,
        run=options.run_folder,
        models=options.models,
        version=options.version,
        audit=options.audit,
        studies=tuple(options.studies),
        comparison=options.comparison,
    )
    page = write_report(sources, options.out, figures=options.figures)
    print(f"{page}: {page.stat().st_size / 1e6:.1f} MB")
