"""The steps that make a model: `fit`, `export`, `evaluate`, and `all`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gate import ModelStore
from gate.card import Card, CardMetrics
from training.cli import audit, data, report
from training.cli import options as option
from training.cli.options import Steps, add_step
from training.data.dataset import Split
from training.errors import RecordsError

if TYPE_CHECKING:
    from training.data.records import Manifest


def add_to(steps: Steps) -> None:
    """Add these steps."""
    run = [option.records, option.run]
    add_step(steps, "fit", _fit, "train the network on prepared records", [option.seed, *run, option.preset, _size])
    title = "fit temperature, novelty score and its threshold on the calibration split"
    add_step(steps, "calibrate", _calibrate, title, [option.seed, *run])
    add_step(steps, "certify", _certify, "find the band whose risk can be promised", [*run, _promise_options])
    add_step(steps, "export", _export, "write model.onnx and its card", [*run, _export_options])
    title = "measure a model on the test split of prepared records"
    add_step(steps, "evaluate", _evaluate, title, [option.records, option.models])
    title = "write probability and decision of the unlabelled images of a data set, or of any folder, as CSV"
    add_step(steps, "predict", _predict, title, [option.models, _predict_options])
    everything = [option.seed, data.data_options, _work_option, option.preset, _promise_options, _export_options]
    add_step(steps, "all", _all, "prepare, audit, fit, calibrate, certify, export and report", everything)


def _size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, help="pixels, where the records hold several sizes")


def _work_option(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--work", type=option.local, default=Path("runs"), help="folder for audit, fit and report (runs)")
    add("--records", type=option.place, help="folder for the shards, or its URL in object storage (WORK/records)")


def _export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=option.local, default=Path("models"), help="folder of models (models)")
    parser.add_argument("--version", help="name of the new version (the next number)")


def _predict_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", type=option.local, required=True, help="folder in the Kaggle layout, or of images")
    add("--out", type=option.local, default=Path("predictions.csv"), help="table to write (predictions.csv)")


def _promise_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--target-risk", type=option.share, default=0.01, help="most of the accepted that may be wrong (0.01)")
    add("--confidence", type=option.share, default=0.95, help="how sure the promise is (0.95)")
    title = "what a wrong glasses costs where a wrong no_glasses costs 1 (1)"
    add("--cost-ratio", type=option.above_zero, default=1.0, help=title)


def _fit(options: argparse.Namespace) -> None:
    from training.data.records import Manifest
    from training.model.train import fit_network

    size = Manifest.read(options.records).the_size(options.size)
    preset = option.chosen_preset(options, size=size)
    fit_network(options.records, options.run_folder, preset=preset, seed=options.seed, command=options.command_line)


def _calibrate(options: argparse.Namespace) -> None:
    from training.evaluation.guarantees import calibrate_run

    found = calibrate_run(options.records, options.run_folder, seed=options.seed)
    before, after = found.calibration.before, found.calibration.after
    print(f"temperature {found.calibration.temperature:.3f} from {found.calibration.images} calibration images")
    print(f"{'':12} {'log loss':>9} {'Brier':>9} {'ECE':>9}")
    for name, one in (("before", before), ("after", after)):
        print(f"{name:12} {one.log_loss:9.4f} {one.brier:9.4f} {one.expected_calibration_error:9.4f}")
    print(f"novelty above {found.novelty.threshold:g} is unfamiliar: {found.novelty.above} of these images")


def _certify(options: argparse.Namespace) -> None:
    from training.evaluation.certify import describe
    from training.evaluation.guarantees import Promised, certify_run

    found = certify_run(
        options.records,
        options.run_folder,
        target_risk=options.target_risk,
        confidence=options.confidence,
        cost_ratio=options.cost_ratio,
    )
    print(describe(found.certificate, temperature=Promised.read(options.run_folder).temperature))
    risk = f"{100 * found.paper.risk.value:.2f} %" if found.paper.risk else "nothing"
    print(f"the paper's .4 to .6: {100 * found.paper.coverage.value:.1f} % accepted, of these {risk} wrong")
    print(f"area under the risk-coverage curve: {found.risk_coverage.area:.5f}")


def _export(options: argparse.Namespace) -> None:
    from training.evaluation.guarantees import Promised
    from training.export import export_model
    from training.model.train import load_fitted

    card = export_model(
        load_fitted(options.run_folder),
        options.records,
        options.out,
        promised=Promised.read(options.run_folder),
        version=options.version,
        command=options.command_line,
    )
    print(f"{card.name} {card.version}: {options.out / card.name / card.version}")
    _print_metrics(card.metrics)


def _evaluate(options: argparse.Namespace) -> None:
    from gate.scorer import Scorer
    from training.data.records import Manifest, load_records
    from training.evaluation.evaluate import evaluate_by_data_set, judge

    model = ModelStore(options.models).load(options.version)
    _refuse_leak(model.card, Manifest.read(options.records))
    test = load_records(options.records, Split.TEST, size=model.card.input.size)
    judged = judge(Scorer(model, device="cpu"), model.card, test.images)
    _print_metrics(evaluate_by_data_set(judged, test, model.card))


def _predict(options: argparse.Namespace) -> None:
    from training.predict import find_images, predict_images

    model = ModelStore(options.models).load(options.version)
    found = predict_images(model, find_images(options.data), options.out)
    print(f"{options.out}: {found.accept} accepted, {found.discard} discarded, {found.error} could not be read")


def _refuse_leak(card: Card, manifest: "Manifest") -> None:
    """The test split of records that divide the model's own data otherwise holds images it was trained on."""
    shared = {data.name for data in card.data if data.fingerprint in {one.fingerprint for one in manifest.data}}
    if shared and card.training.split_seed != manifest.seed:
        raise RecordsError(
            f"the model learned from {sorted(shared)} split with --seed {card.training.split_seed}: prepare it so"
        )


def _all(options: argparse.Namespace) -> None:
    from training.export import new_version

    # What can be known to fail at the end is said before the minutes of work.
    options.version = new_version(options.out, options.version).name
    work: Path = options.work
    options.records = options.records or work / "records"
    options.run_folder, options.models = work / "fit", options.out
    options.size = (options.sizes or [64])[0]
    for step in (data.prepare, _audit, _fit, _calibrate, _certify, _export, _report):
        step(options)


def _audit(options: argparse.Namespace) -> None:
    from training.evaluation.label_audit import AUDIT_PRESET

    # At most so many epochs holds for its networks too.
    epochs = min(AUDIT_PRESET.epochs, options.epochs or AUDIT_PRESET.epochs)
    # What was drawn is labelled as it was drawn; an audit looks at what people labelled.
    changes: dict[str, object] = {
        "auxiliary": [],
        "sizes": None,
        "records": None,
        "epochs": epochs,
        "folds": audit.FOLDS,
    }
    audit.run(argparse.Namespace(**{**vars(options), **changes, "out": options.work / "audit"}))


def _report(options: argparse.Namespace) -> None:
    changes = {"audit": options.work / "audit", "studies": [], "comparison": None, "figures": None}
    report.run(argparse.Namespace(**{**vars(options), **changes, "out": options.work}))


def _print_metrics(metrics: dict[str, CardMetrics]) -> None:
    print(f"{'test split':16} {'images':>6}  {'accuracy [95 %]':24} {'log loss [95 %]':24} coverage")
    for name, metric in metrics.items():
        accuracy, loss = metric.accuracy, metric.log_loss
        print(
            f"{name:16} {metric.images:6}  {accuracy.value:.4f} [{accuracy.low:.4f}, {accuracy.high:.4f}]  "
            f"{loss.value:.4f} [{loss.low:.4f}, {loss.high:.4f}]  {metric.coverage.value:.4f}"
        )
