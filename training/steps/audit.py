"""The step that looks for wrong labels: `audit`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from training.errors import RecordsError
from training.steps import data
from training.steps import options as option
from training.steps.options import Steps, add_step

if TYPE_CHECKING:
    from training.records import Records

COMMAND = "lensgate train audit"


def add_to(steps: Steps) -> None:
    """Add this step."""
    title = "find labels that contradict the picture"
    add_step(steps, "audit", _audit, title, [option.seed, data.data_options, _options])


def _options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for the tables, the page and what is kept to go on from")
    add("--records", type=Path, help="folder of its own for the decoded images (OUT/records)")
    add("--folds", type=option.folds, default=5, help="parts, each judged by networks of the others (5)")
    add("--epochs", type=option.positive, help="epochs of each network")


def _audit(options: argparse.Namespace) -> None:
    from training.audit import AUDIT_PRESET, audit, write_issues
    from training.contact_sheet import write_contact_sheet

    datasets = data.read_datasets(options)
