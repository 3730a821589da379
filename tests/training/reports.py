"""A report of a small data set, with everything that can be part of one."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gate import Band, Card, Label
from gate.card import CardBand, CardTraining, DiscardedShares, Interval, NoveltyThreshold
from gate.scorer import Scorer
from tests.support.datasets import half, write_dataset
from tests.support.models import card_text, model_of, write_model
from training.data.dataset import Split, read_dataset
from training.data.records import Manifest, load_records, write_records
from training.evaluation.calibrate import Values, calibrate
from training.evaluation.certificate import Promise
from training.evaluation.certify import certify
from training.evaluation.class_shares import risks_at_shares
from training.evaluation.compare import Comparison, PairedResult, RunResult
from training.evaluation.evaluate import evaluate_by_data_set, score_images, wilson
from training.evaluation.guarantees import (
    CALIBRATION_FILE,
    CERTIFICATE_FILE,
    CalibrationRecord,
    CertificateRecord,
    Guarantees,
    fingerprint,
)
from training.evaluation.novelty import HEAD_FILE, NoveltyFindings
from training.evaluation.raw_band import RawBand
from training.evaluation.seeds import SeedMean, ValueDifference, ValueSummary
from training.evaluation.selective_risk import risk_coverage, selective_risk
from training.model.network import build_network
from training.model.preset import Preset
from training.model.train import HISTORY_FILE, NETWORK_FILE, RUN_FILE, FitRun
from training.report import ReportSources, write_report
from training.search.study import StudyResult

SIZE = 32
HOSTILE = """x'"><img src=y onerror=alert(1)>&$\\frac$"""
ESCAPED = "x&#x27;&quot;&gt;&lt;img src=y onerror=alert(1)&gt;&amp;$\\frac$"
OUTPUTS = ("glasses_probability", "glasses_logit", "novelty")
UNFAMILIAR = 10
"""Calibration images that no certificate counts."""
BAND = RawBand(low=-0.5, high=0.5)
COMMAND = "lensgate train fit --records 'a & <b>'"


@dataclass(frozen=True)
class Made:
    """The sources of a report, and its page."""

    sources: ReportSources
    card: Card
    page: str


def make_report(folder: Path) -> Made:
    """Everything the steps before would have written, of a model that goes by brightness and is often unsure."""
    data = write_dataset(folder / HOSTILE, half(160))
    with (data / "train.csv").open("a") as table:
        table.write("<script>alert(2)</script>,0,0,0,0,1\n")
    manifest = write_records([read_dataset(data)], folder / "records", sizes=[SIZE], seed=0)
    run = _write_run(folder / "run", manifest)
    sources = ReportSources(records=folder / "records", run=folder / "run", models=folder / "models")
    model = _write_model(sources, manifest, run)
    sources = replace(sources, audit=write_audit(folder / "audit"))
    sources = replace(
        sources,
        studies=(write_study(folder / "study", manifest.fingerprint()),),
        comparison=write_comparison(folder / "all", manifest.fingerprint()),
    )
    page = write_report(sources, folder / "out").read_text()
    return Made(sources, model, page)


def _write_run(folder: Path, manifest: Manifest) -> FitRun:
    folder.mkdir()
    preset = Preset(size=SIZE, filters=(2, 4), epochs=3, patience=2)
    network = build_network(preset)
    network.save(folder / NETWORK_FILE)
    network.save(folder / HEAD_FILE)
    (folder / HISTORY_FILE).write_text(
        "epoch,accuracy,loss,val_accuracy,val_loss\n1,.5,.7,.5,.7\n2,.6,.6,.7,.5\n3,.7,.5,.6,.6\n"
    )
    run = FitRun(
        command=COMMAND,
        records=manifest.fingerprint(),
        seed=3,
        epochs=3,
        parameters=network.count_params(),
        settings=preset.settings(),
    )
    (folder / RUN_FILE).write_text(run.model_dump_json())
    return run


def _write_model(sources: ReportSources, manifest: Manifest, run: FitRun) -> Card:
    """A graph that is often unsure; its card has the figures that an export would have put there."""
    text = card_text(
        size=SIZE,
        outputs=OUTPUTS,
        data=manifest.data,
        training=CardTraining(commands=("", COMMAND), split_seed=0, **run.model_dump(exclude={"command"})),
        novelty_threshold=NoveltyThreshold(
            value=1.3,
            chosen_by="0 of 40",
            kinds={"black": DiscardedShares(images=40, discarded=wilson(40, 40), unfamiliar=wilson(9, 40))},
        ),
    )
    held, test = (load_records(sources.records, split) for split in (Split.CALIBRATION, Split.TEST))
    logits = Scorer(model_of(graph(), text)).run(held.images)["glasses_logit"]
    text = text.model_copy(update={"band": _write_promises(sources.run, logits, held.labels)})
    metrics = evaluate_by_data_set(score_images(Scorer(model_of(graph(), text)), text, test.images), test, text)
    model = model_of(graph(), text.model_copy(update={"metrics": metrics}))
    write_model(sources.models, model)
    return model.card


def graph() -> onnx.ModelProto:
    """The bar makes a picture darker; noise in one pixel changes the logit, in another the novelty."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "places"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "darker"], ["bar"]),
        helper.make_node("Add", ["bar", "offset"], ["centred"]),
        *_pixel("noise"),
        *_pixel("novelty"),
        helper.make_node("Add", ["centred", "noise"], ["glasses_logit"]),
        helper.make_node("Sigmoid", ["glasses_logit"], ["glasses_probability"]),
    ]
    constants: dict[str, Any] = {
        "darker": np.float32(-0.12),
        "offset": np.float32(0.12 * 130.65),
        "places": np.array([1, 2, 3], np.int64),
        **_constants("noise", row=2, middle=177.4, spread=1.6),
        **_constants("novelty", row=25, middle=179.8, spread=2.0),
    }
    return helper.make_model(
        helper.make_graph(
            nodes,
            "unsure",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in OUTPUTS],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )


def _pixel(name: str) -> list[onnx.NodeProto]:
    """The mean colour of one pixel, as far from its middle as there are spreads."""
    return [
        helper.make_node("Slice", ["pixels", f"{name}_from", f"{name}_to", "places"], [f"{name}_pixel"]),
        helper.make_node("ReduceMean", [f"{name}_pixel", "places"], [f"{name}_mean"], keepdims=0),
        helper.make_node("Sub", [f"{name}_mean", f"{name}_middle"], [f"{name}_centred"]),
        helper.make_node("Div", [f"{name}_centred", f"{name}_spread"], [name]),
    ]


def _constants(name: str, *, row: int, middle: float, spread: float) -> dict[str, Any]:
    return {
        f"{name}_from": np.array([row, 2, 0], np.int64),
        f"{name}_to": np.array([row + 1, 3, 3], np.int64),
        f"{name}_middle": np.float32(middle),
        f"{name}_spread": np.float32(spread),
    }


def _write_promises(run: Path, logits: Values, labels: Values) -> CardBand:
    """Calibration and certificate of the logits as they are, at a temperature of 1."""
    found = fingerprint(run)
    findings = calibrate(logits, labels).model_copy(update={"temperature": 1.0})
    novelty = NoveltyFindings(threshold=1.3, images=40, above=0)
    paper, edges = RawBand.from_probability(Band(), 1.0), {Label.GLASSES: (BAND.high,), Label.NO_GLASSES: (BAND.low,)}
    terms: dict[str, Any] = {"promise": Promise.equal(0.9, 0.5), "fallback": paper}
    certificate = certify(logits, labels, edges, folds=3, images=len(logits) + UNFAMILIAR, **terms)
    certified = CertificateRecord(
        run=found,
        certificate=certificate,
        held_out=certify(logits, labels, edges, promise=Promise.equal(0.01), fallback=paper),
        own=selective_risk(logits, labels, certificate.band),
        paper=selective_risk(logits, labels, paper),
        risk_coverage=risk_coverage(logits, labels),
        shares=risks_at_shares(logits, labels, certificate.band, confidence=0.5),
    )
    calibrated = CalibrationRecord(run=found, calibration=findings, novelty=novelty)
    (run / CALIBRATION_FILE).write_text(calibrated.model_dump_json())
    (run / CERTIFICATE_FILE).write_text(certified.model_dump_json())
    return Guarantees.read(run).card_band()


def write_audit(folder: Path) -> Path:
    folder.mkdir()
    rows: list[list[object]] = [["id", "given", "suggested", "score"]]
    rows += [[face, "glasses", "no_glasses", face / 1000] for face in range(2, 60, 2)]
    with (folder / "label_issues.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def write_study(folder: Path, records: str) -> Path:
    folder.mkdir()
    summaries = tuple(
        ValueSummary(
            value=value,
            runs=runs,
            accuracy=SeedMean(value=0.9, low=low, high=low and 0.95),
            log_loss=SeedMean(value=0.2),
            seconds=None,
            bytes=2_000_000,
            images=20,
            standard_error=0.1,
        )
        for value, runs, low in (("32", 1, None), ("<64>", 3, 0.85))
    )
    lower = ValueDifference(metric="log_loss", first="32", second="<64>", mean=-0.125, p=0.01, real=True)
    study = StudyResult(
        kind="resolution",
        records=records,
        settings={},
        runs=(),
        failed=("32, seed 1",),
        summaries=summaries,
        differences=(lower,),
    )
    (folder / "study.json").write_text(study.model_dump_json())
    return folder


def write_comparison(folder: Path, records: str) -> Path:
    folder.mkdir()
    runs = tuple(
        RunResult(
            run=f"runs/{name}",
            images=24,
            errors=errors,
            accuracy=wilson(24 - errors, 24),
            log_loss=Interval(value=0.1, low=0.05, high=0.2),
            parameters=1234,
            settings={"size": 32},
        )
        for name, errors in (("one", 3), ("<two>", 1))
    )
    pair = PairedResult(
        first="runs/one",
        other="runs/<two>",
        only_first_wrong=2,
        only_other_wrong=0,
        mcnemar_p=0.5,
        log_loss_difference=Interval(value=-0.02, low=-0.05, high=0.01),
    )
    (folder / "comparison.json").write_text(Comparison(records=records, runs=runs, pairs=(pair,)).model_dump_json())
    return folder
