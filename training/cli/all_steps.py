"""The step that runs the whole chain: `all`."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from common.storage import AnyPath, locked
from common.terminal import say
from gate import Label, ModelStore
from training.cli import audit, data_steps, model_steps, report
from training.cli import options as option
from training.cli.options import PresetOptions, Steps, add_step
from training.data.dataset import Split
from training.errors import DataError


@dataclass(frozen=True, slots=True)
class AllOptions:
    """The options of `all`."""

    data_sets: data_steps.DataSetOptions
    work: Path
    records: AnyPath | None
    preset: PresetOptions
    guarantee: model_steps.GuaranteeOptions
    out: Path
    version: str | None
    seed: int
    command_line: str


def add_to(steps: Steps) -> None:
    """Add this step."""
    add_step(
        steps,
        "all",
        title="prepare, audit, fit, calibrate, certify, export and report",
        options=AllOptions,
        run=_run_all,
        arguments=[
            option.seed,
            partial(data_steps.data_arguments, size="that of the preset; the first one trains"),
            _work_arguments,
            option.preset,
            model_steps.guarantee_arguments,
            model_steps.export_arguments,
        ],
    )


def _work_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--work", type=option.local, default=Path("runs"), metavar="DIR", help="folder for audit, fit and report (runs)"
    )
    title = "folder for the shards, or its URL in object storage (WORK/records)"
    add("--records", type=option.place, metavar="DIR", help=title)


def _run_all(options: AllOptions) -> str | None:
    """Run the chain, each step under its number; return the command that follows the export."""
    records, run = options.records or options.work / "records", options.work / "fit"
    seed, command = options.seed, options.command_line
    size = (options.data_sets.sizes or (options.preset.start().size,))[0]
    # Refuse a version that exists, and settings that do not fit, before minutes of work, not after.
    version = ModelStore(options.out).free_version(options.version)
    options.preset.resolve(size)
    data_sets = replace(options.data_sets, sizes=options.data_sets.sizes or (size,))
    prepared = data_steps.PrepareOptions(data_sets, records, seed, command)
    fitted = model_steps.FitOptions(records, run, options.preset, size, seed, command)
    certified = model_steps.CertifyOptions(records, run, options.guarantee)
    exported = model_steps.ExportOptions(records, run, options.out, version, command)
    described = report.ReportOptions(
        records=records,
        run_folder=run,
        models=options.out,
        version=version,
        data=(),
        audit=options.work / "audit",
        studies=(),
        comparison=None,
        out=options.work,
        figures=None,
    )
    chain: dict[str, Callable[[], str | None]] = {
        "prepare": partial(_prepare, prepared, options.guarantee.folds),
        "audit": partial(audit.audit_labels, _audit_options(options)),
        "fit": partial(model_steps.fit, fitted),
        "calibrate": partial(model_steps.calibrate, model_steps.CalibrateOptions(records, run, seed)),
        "certify": partial(model_steps.certify, certified),
        "export": partial(model_steps.export, exported),
        "report": partial(report.write, described),
    }
    # The records may lie in the same folder, and have their own lock.
    with locked(options.work, name=".lensgate-all.lock"):
        following = _run_numbered(chain)
    say("\nall steps:", end=" ")
    return following["export"]


def _prepare(options: data_steps.PrepareOptions, folds: int) -> None:
    """Prepare the records; refuse those that a later step would refuse."""
    from training.data.records import Manifest
    from training.export import refuse_few

    data_steps.prepare(options)
    manifest = Manifest.read(options.records)
    for label in Label:
        learned = [data.images.get(split, {}).get(label, 0) for data in manifest.data
                   if Split.CALIBRATION in data.images for split in (Split.TRAIN, Split.VALIDATION)]  # fmt: skip
        if sum(learned) < folds - 1:
            raise DataError(
                f"--folds {folds} takes {folds - 1} images of each label outside calibration and test, but "
                f"{sum(learned)} are labelled {label}: use fewer folds, or add images"
            )
    refuse_few(sum(map(manifest.count, Split)))


def _run_numbered(chain: Mapping[str, Callable[[], str | None]]) -> dict[str, str | None]:
    """Run the steps in order; return the next command that each of them names."""
    following = {}
    for number, (name, step) in enumerate(chain.items(), start=1):
        gap = "\n" if number > 1 else ""
        say(f"{gap}{number}/{len(chain)} {name}")
        following[name] = option.run_timed(step)
    return following


def _audit_options(options: AllOptions) -> audit.AuditOptions:
    """Audit the main data sets; auxiliary ones are drawn, and labelled as they were drawn."""
    from training.evaluation.label_audit import AUDIT_PRESET

    return audit.AuditOptions(
        data_sets=replace(options.data_sets.without_auxiliary(), sizes=None),
        out=options.work / "audit",
        records=None,
        folds=audit.FOLDS,
        # --epochs is a limit for the audit's networks as well.
        epochs=min(AUDIT_PRESET.epochs, options.preset.epochs or AUDIT_PRESET.epochs),
        seed=options.seed,
        command_line=options.command_line,
    )
