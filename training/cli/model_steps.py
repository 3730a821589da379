"""The steps that produce a model: `fit`, `calibrate`, `certify` and `export`."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.storage import AnyPath, locked
from common.terminal import command, count, say
from gate import Label, ModelError, ModelStore
from gate.card import Card, SplitMetrics
from training.cli import options as option
from training.cli.options import PresetOptions, Steps, add_step

if TYPE_CHECKING:
    from training.evaluation.certificate import Promise


@dataclass(frozen=True, slots=True)
class FitOptions:
    """The options of `fit`."""

    records: AnyPath
    run_folder: Path
    preset: PresetOptions
    size: int | None
    seed: int
    command_line: str


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """The options of `calibrate`."""

    records: AnyPath
    run_folder: Path
    seed: int


@dataclass(frozen=True, slots=True)
class GuaranteeOptions:
    """The guarantee to certify, from the arguments that `guarantee_arguments` adds."""

    target_risk: float
    target_risk_glasses: float | None
    target_risk_no_glasses: float | None
    confidence: float
    folds: int
    shares: tuple[float, ...] | None

    def promise(self) -> "Promise":
        """Return the promise; a class without a target of its own has the common one."""
        from training.evaluation.certificate import Promise

        own = {Label.GLASSES: self.target_risk_glasses, Label.NO_GLASSES: self.target_risk_no_glasses}
        risks = {label: self.target_risk if risk is None else risk for label, risk in own.items()}
        return Promise(target_risks=risks, confidence=self.confidence)


@dataclass(frozen=True, slots=True)
class CertifyOptions:
    """The options of `certify`."""

    records: AnyPath
    run_folder: Path
    guarantee: GuaranteeOptions


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The options of `export`."""

    records: AnyPath
    run_folder: Path
    out: Path
    version: str | None
    command_line: str


def add_to(steps: Steps) -> None:
    """Add these steps."""
    run = [option.records, option.run]
    add_step(
        steps,
        "fit",
        title="train the network on prepared records",
        options=FitOptions,
        run=fit,
        arguments=[option.seed, *run, option.preset, option.size],
    )
    add_step(
        steps,
        "calibrate",
        title="fit temperature, novelty score and novelty threshold",
        options=CalibrateOptions,
        run=calibrate,
        arguments=[option.seed, *run],
    )
    add_step(
        steps,
        "certify",
        title="find the narrowest band with a certified risk",
        options=CertifyOptions,
        run=certify,
        arguments=[*run, guarantee_arguments],
    )
    add_step(
        steps,
        "export",
        title="write model.onnx and its card",
        options=ExportOptions,
        run=export,
        arguments=[*run, export_arguments],
    )


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --out and --version."""
    add = parser.add_argument_group("export").add_argument
    add("--out", type=option.local, default=Path("models"), metavar="DIR", help="folder of models (models)")
    add("--version", help="name of the new version (the next number)")


def guarantee_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --target-risk and its variants for one class, --confidence, --folds and --share."""
    add = parser.add_argument_group("guarantee").add_argument
    title = "largest share of wrong labels among the images accepted with each label (0.01)"
    add("--target-risk", type=option.share, default=0.01, metavar="RISK", help=title)
    for label in Label:
        title = f"the same for images accepted as {label} (--target-risk)"
        add(f"--target-risk-{label.replace('_', '-')}", type=option.share, metavar="RISK", help=title)
    title = "confidence of the promise about each class (0.95)"
    add("--confidence", type=option.share, default=0.95, metavar="SHARE", help=title)
    title = "networks to certify with, 1 or at least 3: K - 1 more are fitted, each without a part of the faces (1)"
    add("--folds", type=_folds, default=1, metavar="K", help=title)
    title = "share of glasses to bound the risk of each label at; may be repeated (0.135 and 0.635)"
    add("--share", type=option.share, action="append", dest="shares", metavar="SHARE", help=title)


def _folds(text: str) -> int:
    if (count := option.positive(text)) == 2:
        raise argparse.ArgumentTypeError(
            "the second of 2 networks would have no faces to validate on: use 1, or 3 or more"
        )
    return count


def fit(options: FitOptions) -> str:
    """Train the network; print its validation metrics and return the next command."""
    from training.data.records import Manifest
    from training.model.checkpoint import kept_epoch
    from training.model.train import fit_network, read_history

    preset = options.preset.resolve_for(Manifest.read(options.records), options.size)
    fit_network(options.records, options.run_folder, preset=preset, seed=options.seed, command=options.command_line)
    losses = read_history(options.run_folder)["val_loss"]
    kept = kept_epoch(losses, preset.patience)
    loss = f"validation loss {losses[kept - 1]:.4f}"
    say(f"{options.run_folder}: {count(len(losses), 'epoch')}, of which number {kept} is kept: {loss}")
    seed = option.same_seed(options.seed)
    return command("train", "calibrate", "--records", options.records, "--run", options.run_folder, *seed)


def calibrate(options: CalibrateOptions) -> str:
    """Fit temperature and novelty score; print the calibration metrics and return the next command."""
    from training.evaluation.guarantees import calibrate_run
    from training.model.train import FitRun

    FitRun.read(options.run_folder)  # The lock would create a folder whose name is misspelt.
    with locked(options.run_folder):
        record = calibrate_run(options.records, options.run_folder, seed=options.seed)
    calibration, novelty = record.calibration, record.novelty
    say(f"temperature {calibration.temperature:.3f} from {calibration.images} calibration images")
    say(f"{'':12} {'log loss':>9} {'Brier':>9} {'ECE':>9}")
    for name, metrics in (("before", calibration.before), ("after", calibration.after)):
        say(f"{name:12} {metrics.log_loss:9.4f} {metrics.brier:9.4f} {metrics.expected_calibration_error:9.4f}")
    say(f"novelty threshold {novelty.threshold:g}: {novelty.above} of these images are above it")
    return command("train", "certify", "--records", options.records, "--run", options.run_folder)


def certify(options: CertifyOptions) -> str:
    """Certify the band; print the certificate and the paper's band beside it, and return the next command."""
    from training.evaluation.certificate_text import describe, describe_true_class
    from training.evaluation.class_shares import SHARES
    from training.evaluation.guarantees import Guarantees, certify_run
    from training.model.train import FitRun

    guarantee = options.guarantee
    FitRun.read(options.run_folder)  # As in `calibrate`.
    with locked(options.run_folder):
        record = certify_run(
            options.records,
            options.run_folder,
            promise=guarantee.promise(),
            folds=guarantee.folds,
            shares=guarantee.shares or SHARES,
        )
    certificate, temperature = record.certificate, Guarantees.read(options.run_folder).temperature
    say(*describe(certificate, temperature=temperature))
    say(*(describe_true_class(label, part, certificate.confidence) for label, part in certificate.classes.items()))
    if record.held_out:
        say("the served network alone, by its calibration split:")
        say(*(f"  {line}" for line in describe(record.held_out, temperature=temperature)))
    risk = f"{100 * record.paper.risk.value:.2f} % of these wrong" if record.paper.risk else "none wrong"
    say(f"the paper's 0.4 to 0.6: {100 * record.paper.coverage.value:.1f} % accepted, {risk}")
    say(f"area under the risk-coverage curve: {record.risk_coverage.area:.5f}")
    return command("train", "export", "--records", options.records, "--run", options.run_folder)


def export(options: ExportOptions) -> str:
    """Write the model and its card; print its metrics and return the next command."""
    from training.evaluation.guarantees import Guarantees
    from training.export import export_model
    from training.model.train import load_fitted

    fitted, promised = load_fitted(options.run_folder), Guarantees.read(options.run_folder)
    card = export_model(
        fitted,
        options.records,
        options.out,
        promised=promised,
        version=options.version,
        command=options.command_line,
    )
    say(f"{card.name} {card.version}: {options.out / card.name / card.version}")
    print_metrics(card.metrics)
    if card.band.classes is None:
        say(
            f"{'no certificate' if promised.head else 'no novelty score and no certificate'}: the band is the paper's, "
            f"{card.band.low:g} to {card.band.high:g}; `lensgate train {'certify' if promised.head else 'calibrate'}` "
            "comes before an export",
            error=True,
        )
    # The first version is current from its export on.
    if _is_current(card, options.out):
        return command("serve", "--models", options.out)
    return command("models", "promote", card.version, "--models", options.out)


def _is_current(card: Card, models: Path) -> bool:
    try:
        return ModelStore(models, card.name).current() == card.version
    except ModelError:  # CURRENT was damaged before this export.
        return False


def print_metrics(metrics: dict[str, SplitMetrics]) -> None:
    """Print a line for each data set of the test split."""
    say(f"{'test split':16} {'images':>6}  {'accuracy [95 %]':24} {'log loss [95 %]':24} coverage")
    for name, metric in metrics.items():
        accuracy, loss = metric.accuracy, metric.log_loss
        coverage = f"{metric.coverage.value:.4f}" if metric.coverage else "-"
        say(
            f"{name:16} {metric.images:6}  {accuracy.value:.4f} [{accuracy.low:.4f}, {accuracy.high:.4f}]  "
            f"{loss.value:.4f} [{loss.low:.4f}, {loss.high:.4f}]  {coverage}"
        )
