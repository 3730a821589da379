"""Load all inputs of a report once, and check that they belong together."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import keras
from pydantic import BaseModel, ValidationError

from common.storage import AnyPath
from gate import ModelStore
from gate.card import Card
from gate.scorer import Scorer
from training.data.csv_table import read_table
from training.data.dataset import Split
from training.data.records import Manifest, Records, load_parts
from training.errors import DataError, RecordsError
from training.evaluation.compare import Comparison
from training.evaluation.guarantees import (
    CALIBRATION_FILE,
    CERTIFICATE_FILE,
    CalibrationRecord,
    CertificateRecord,
    Guarantees,
)
from training.evaluation.label_audit import ISSUES_FILE
from training.model.train import FitRun, History, load_fitted, read_history
from training.report.gate_scores import CardGate, LabelledScores
from training.report.image_files import ImageFiles
from training.search.study import StudyResult

IssueRow = dict[str, str]
"""A row of `label_issues.csv`: id, given, suggested, score, and data_set if there are several."""

_Finding = TypeVar("_Finding", bound=BaseModel)
_OfRecords = TypeVar("_OfRecords", StudyResult, Comparison)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSources:
    """Locations of the inputs; None for inputs that were not requested.

    `data` are folders of data sets that are no longer where the records were prepared from.
    """

    records: AnyPath
    run: Path
    models: Path
    version: str | None = None
    data: tuple[Path, ...] = ()
    audit: Path | None = None
    studies: tuple[AnyPath, ...] = ()
    comparison: AnyPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The inputs of all sections; None for results that do not exist."""

    sources: ReportSources
    card: Card
    gate: CardGate
    manifest: Manifest
    run: FitRun
    network: keras.Model
    history: History
    splits: Mapping[Split, LabelledScores]
    files: ImageFiles
    calibrated: CalibrationRecord | None
    certified: CertificateRecord | None
    issues: tuple[IssueRow, ...] | None
    studies: tuple[StudyResult, ...]
    comparison: Comparison | None

    @property
    def train(self) -> Records:
        """The training split."""
        return self.splits[Split.TRAIN].records

    @property
    def test(self) -> LabelledScores:
        """The test split."""
        return self.splits[Split.TEST]

    @property
    def own(self) -> tuple[str, ...]:
        """Names of the data sets that the guarantee covers, without auxiliary ones."""
        return tuple(data.name for data in self.card.data if Split.CALIBRATION in data.images)


def gather(sources: ReportSources) -> Evidence:
    """Load everything, then score all splits, which is the slowest part.

    Raises:
        RecordsError: an input is unfinished, or model, run and records do not belong together.
        ModelError: the model does not exist.
    """
    model = ModelStore(sources.models).load(sources.version)
    manifest, fitted = Manifest.read(sources.records), load_fitted(sources.run)
    _check_belonging(model.card, fitted.run, manifest, sources)
    issues = None if sources.audit is None else _read_issues(sources.audit / ISSUES_FILE)
    studies = tuple(_made(folder / "study.json", StudyResult, manifest, step="study") for folder in sources.studies)
    folder = sources.comparison
    comparison = None if folder is None else _made(folder / "comparison.json", Comparison, manifest, step="compare")
    parts = zip(Split, load_parts(sources.records, *Split, size=model.card.input.size), strict=True)
    gate = CardGate(Scorer(model, device="cpu"), model.card)
    return Evidence(
        sources=sources,
        card=model.card,
        gate=gate,
        manifest=manifest,
        run=fitted.run,
        network=fitted.network,
        history=read_history(sources.run),
        splits={split: gate.score(part) for split, part in parts if len(part)},
        files=ImageFiles.of(sources.records, manifest, sources.data),
        calibrated=_read(sources.run / CALIBRATION_FILE, CalibrationRecord),
        certified=_read(sources.run / CERTIFICATE_FILE, CertificateRecord),
        issues=issues,
        studies=studies,
        comparison=comparison,
    )


def _made(path: AnyPath, kind: type[_OfRecords], manifest: Manifest, *, step: str) -> _OfRecords:
    """Read the result of a step on the same images, labels and splits; their sizes may differ."""
    found = _read(path, kind)
    if found is None:
        raise RecordsError(f"{path} does not exist: run `lensgate train {step}` first")
    if found.records != manifest.fingerprint():
        raise RecordsError(f"{path} is about other records than the report: run `lensgate train {step}` on these")
    return found


def _read(path: AnyPath, kind: type[_Finding]) -> _Finding | None:
    if not path.is_file():
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RecordsError(f"{path} was written by another version: run the step that wrote it again") from error


def _read_issues(path: Path) -> tuple[IssueRow, ...]:
    if not path.is_file():
        raise RecordsError(f"{path} does not exist: run `lensgate train audit` first")
    again = "run `lensgate train audit` again"
    try:
        lines = read_table(path, {"id", "given", "suggested", "score"}, optional={"data_set"}).lines
    except DataError as error:
        raise RecordsError(f"{error}, or {again}") from error
    for line in lines:
        if line.fault or not _is_number(line.cells["score"]):
            raise RecordsError(f"{path} line {line.number} is not as the audit wrote it: {again}")
    return tuple(line.cells for line in lines)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _check_belonging(card: Card, run: FitRun, manifest: Manifest, sources: ReportSources) -> None:
    """Refuse to combine the metrics of one model with the curves of another."""
    title = f"model {card.name} version {card.version}"
    if card.training.records != manifest.fingerprint():
        raise RecordsError(f"{title} was trained on other records than {sources.records}: pass its own with --records")
    if (run.records, run.seed, run.settings) != (card.training.records, card.training.seed, card.training.settings):
        raise RecordsError(f"{title} was exported from another run than {sources.run}: pass its own with --run")
    if card.band.verdicts is not None:
        raise RecordsError(
            f"{title} has the band of `lensgate certify --export`, not that of {sources.run}: report on the version "
            f"that its verdicts are about, --version {card.band.verdicts.version}"
        )
    promised = Guarantees.read(sources.run)
    if (promised.card_band(), promised.temperature) != (card.band, card.calibration.temperature):
        raise RecordsError(
            f"{title} was exported before {sources.run} was calibrated or certified: run `lensgate train export` again "
            "and pass the version that it writes with --version"
        )
