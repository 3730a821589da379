"""The step that looks for wrong labels: `audit`."""

import argparse
import sys
from typing import TYPE_CHECKING

from training.cli import data
from training.cli import options as option
from training.cli.options import Steps, add_step
from training.data.dataset import CORRECTIONS_FILE, DataSet, Split
from training.errors import RecordsError

if TYPE_CHECKING:
    from common.storage import AnyPath
    from training.data.records import Records

COMMAND = "lensgate train audit"
FOLDS = 5


def add_to(steps: Steps) -> None:
    """Add this step."""
    title = "find labels that contradict the picture"
    add_step(steps, "audit", run, title, [option.seed, data.data_options, _options])


def _options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=option.local, required=True, help="folder for tables, page and what is kept to go on from")
    add("--records", type=option.place, help="folder or URL for the decoded images, the audit's own (OUT/records)")
    add("--folds", type=_folds, default=FOLDS, help=f"parts, each judged by a network of the others ({FOLDS})")
    add("--epochs", type=option.positive, help="epochs of each network")


def _folds(text: str) -> int:
    if (count := option.positive(text)) < 2:
        raise argparse.ArgumentTypeError("there must be 2 folds at least: one to learn from and one to judge")
    return count


def run(options: argparse.Namespace) -> None:
    """Audit the labels; write tables and page."""
    from training.evaluation.label_audit import AUDIT_PRESET, audit, write_issues
    from training.report.contact_sheet import write_contact_sheet

    datasets = data.read_datasets(options)
    size = options.sizes[0] if options.sizes else AUDIT_PRESET.size
    preset = AUDIT_PRESET.changed(size=size, epochs=options.epochs)
    records = _records(options, datasets, size)
    issues = audit(records, options.out, preset=preset, folds=options.folds, seed=options.seed)
    proposals = write_issues(issues, options.out, data_sets=[one.name for one in datasets])
    images = {(one.name, example.name): example.path for one in datasets for example in (*one.train, *one.test)}
    command = options.command_line
    page = write_contact_sheet(issues, options.out, images=images, audited=len(records), command=command)
    print(f"{len(issues)} of {len(records)} labels seem to contradict the picture: {page}")
    for one, proposal in zip(datasets, proposals, strict=True):
        print(f"keep the right lines of {proposal} in {one.folder / CORRECTIONS_FILE}")


def _records(options: argparse.Namespace, datasets: list[DataSet], size: int) -> "Records":
    """All labelled images. Those of the test split too: a wrong label there spoils every figure."""
    from training.data.records import load_records, write_records

    folder = options.records or options.out / "records"
    if options.records:
        _refuse_others(folder)
    manifest = write_records(datasets, folder, sizes=[size], seed=options.seed, command=options.command_line)
    for problem in manifest.problems:
        print(problem, file=sys.stderr)
    return load_records(folder, *Split)


def _refuse_others(folder: "AnyPath") -> None:
    """What `prepare` wrote would lose the other sizes, and with another seed its splits."""
    from training.data.records import MANIFEST_FILE, Manifest

    if not (folder / MANIFEST_FILE).is_file():
        return
    command = Manifest.read(folder).command
    if not command.startswith(COMMAND):
        raise RecordsError(f"{folder} was written by `{command}`: give the audit a folder of its own")
