"""The step that finds wrong labels: `audit`."""

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from common.storage import AnyPath, locked
from common.terminal import say
from training.cli import options as option
from training.cli.data_steps import DataSetOptions, data_arguments, print_problems, read_datasets
from training.cli.options import Steps, add_step
from training.data.dataset import CORRECTIONS_FILE, ImageDataSet, Split
from training.errors import RecordsError

if TYPE_CHECKING:
    from training.data.records import Records

COMMAND = "lensgate train audit"
FOLDS = 5


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """The options of `audit`."""

    data_sets: DataSetOptions
    out: Path
    records: AnyPath | None
    folds: int
    epochs: int | None
    seed: int
    command_line: str


def add_to(steps: Steps) -> None:
    """Add this step."""
    add_step(
        steps,
        "audit",
        title="find labels that contradict the image",
        options=AuditOptions,
        run=audit_labels,
        arguments=[option.seed, partial(data_arguments, size="32", several=False), _arguments],
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    title = "folder for the tables, the page and the resumable state"
    add("--out", type=option.local, required=True, metavar="DIR", help=title)
    title = "folder or URL for the decoded images, not shared (OUT/images)"
    add("--records", type=option.place, metavar="DIR", help=title)
    add("--folds", type=_folds, default=FOLDS, metavar="K", help=f"folds of the cross-validation, at least 2 ({FOLDS})")
    add("--epochs", type=option.positive, metavar="NUMBER", help="epochs of each network (12)")


def _folds(text: str) -> int:
    if (count := option.positive(text)) < 2:
        raise argparse.ArgumentTypeError("the audit needs at least 2 folds: one to train on and one to score")
    return count


def audit_labels(options: AuditOptions) -> None:
    """Audit the labels; write the tables and the page."""
    from training.evaluation.label_audit import AUDIT_PRESET, audit, write_issues
    from training.report.contact_sheet import write_contact_sheet

    datasets = read_datasets(options.data_sets)
    size = options.data_sets.sizes[0] if options.data_sets.sizes else AUDIT_PRESET.size
    preset = AUDIT_PRESET.changed(size=size, epochs=options.epochs)
    records = _records(options, datasets, size)
    with locked(options.out):
        issues = audit(records, options.out, preset=preset, folds=options.folds, seed=options.seed)
    images = {(data.name, example.name): example.path for data in datasets for example in (*data.train, *data.test)}
    command = options.command_line
    # First, because it reads images, which may have gone meanwhile.
    page = write_contact_sheet(issues, options.out, images=images, audited=len(records), command=command)
    proposals = write_issues(issues, options.out, data_sets=[data.name for data in datasets])
    verb = "seems" if len(issues) == 1 else "seem"
    say(f"{len(issues)} of {len(records)} labels {verb} to contradict the image: {page}")
    for data, proposal in zip(datasets, proposals, strict=True):
        say(f"review {proposal} and keep the correct lines in {data.folder / CORRECTIONS_FILE}")


def _records(options: AuditOptions, datasets: list[ImageDataSet], size: int) -> "Records":
    """All labelled images, including the test split: wrong test labels distort every metric."""
    from training.data.records import load_records, write_records

    # Not OUT/records: with `--out runs` these are the records of `prepare`.
    folder = options.records or options.out / "images"
    if options.records:
        _refuse_other_records(folder)
    manifest = write_records(datasets, folder, sizes=[size], seed=options.seed, command=options.command_line)
    print_problems(manifest.problems)
    return load_records(folder, *Split)


def _refuse_other_records(folder: AnyPath) -> None:
    """Protect records of `prepare`: overwriting them would lose their other sizes and their splits."""
    from training.data.records import MANIFEST_FILE, Manifest

    if not (folder / MANIFEST_FILE).is_file():
        return
    command = Manifest.read(folder).command
    if not command.startswith(COMMAND):
        raise RecordsError(f"{folder} was written by `{command}`: choose a separate folder for the audit")
