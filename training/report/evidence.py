"""Everything a report is made from, read once and held against each other."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import keras
from pydantic import BaseModel, ValidationError

from common.storage import AnyPath
from gate import ModelStore
from gate.card import Card
from gate.scorer import Scorer
from training.data.dataset import Split
from training.data.records import Manifest, Records, load_records
from training.errors import RecordsError
from training.evaluation.compare import Comparison
from training.evaluation.guarantees import CALIBRATION_FILE, CERTIFICATE_FILE, Calibrated, Certified, Promised
from training.evaluation.label_audit import ISSUES_FILE
from training.model.train import History, Run, load_fitted, read_history
from training.report.scored import Gate, Scored
from training.search.study import Study

Row = dict[str, str]
"""A line of `label_issues.csv`: id, given, suggested, score, and data_set where there are several."""

_Finding = TypeVar("_Finding", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where it all lies; what is None was not asked for."""

    records: AnyPath
    run: Path
    models: Path
    version: str | None = None
    audit: Path | None = None
    studies: tuple[AnyPath, ...] = ()
    comparison: AnyPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that the sections take from; what is None was not made."""

    sources: Sources
    card: Card
    gate: Gate
    manifest: Manifest
    run: Run
    network: keras.Model
    history: History
    train: Records
    test: Scored
    calibrated: Calibrated | None
    certified: Certified | None
    issues: tuple[Row, ...] | None
    studies: tuple[Study, ...]
    comparison: Comparison | None

    @property
    def own(self) -> tuple[str, ...]:
        """Names of the data sets that something is promised of: not those that were only learned from as well."""
        return tuple(data.name for data in self.card.data if Split.CALIBRATION in data.images)


def gather(sources: Sources) -> Evidence:
    """Read everything and score the test split, which is what takes a while, last.

    Raises:
        RecordsError: something is not finished, or model, run and records do not belong together.
        ModelError: there is no such model.
    """
    model = ModelStore(sources.models).load(sources.version)
    manifest, fitted = Manifest.read(sources.records), load_fitted(sources.run)
    _check_belonging(model.card, fitted.run, manifest, sources)
    issues = None if sources.audit is None else _read_issues(sources.audit / ISSUES_FILE)
    studies = tuple(_required(folder / "study.json", Study, step="study") for folder in sources.studies)
    folder = sources.comparison
    comparison = None if folder is None else _required(folder / "comparison.json", Comparison, step="compare")
    size = model.card.input.size
    gate = Gate(Scorer(model, device="cpu"), model.card)
    return Evidence(
        sources=sources,
        card=model.card,
        gate=gate,
        manifest=manifest,
        run=fitted.run,
        network=fitted.network,
        history=read_history(sources.run),
        train=load_records(sources.records, Split.TRAIN, size=size),
        test=gate.score(load_records(sources.records, Split.TEST, size=size)),
        calibrated=_read(sources.run / CALIBRATION_FILE, Calibrated),
        certified=_read(sources.run / CERTIFICATE_FILE, Certified),
        issues=issues,
        studies=studies,
        comparison=comparison,
    )


def _required(path: AnyPath, kind: type[_Finding], *, step: str) -> _Finding:
    found = _read(path, kind)
    if found is None:
        raise RecordsError(f"{path} does not exist: run `lensgate train {step}` first")
    return found


def _read(path: AnyPath, kind: type[_Finding]) -> _Finding | None:
    if not path.is_file():
        return None
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RecordsError(f"{path} is not what this version writes: run the step that wrote it again") from error


def _read_issues(path: Path) -> tuple[Row, ...]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = tuple(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordsError(f"{path} cannot be read: run `lensgate train audit` first") from error
    if any(not {"id", "given", "suggested", "score"} <= row.keys() for row in rows):
        raise RecordsError(f"{path} is not what this version writes: run `lensgate train audit` again")
    return rows


def _check_belonging(card: Card, run: Run, manifest: Manifest, sources: Sources) -> None:
    """Figures of one model beside curves of another would be worse than no page."""
    title = f"model {card.name} version {card.version}"
    if card.training.records != manifest.fingerprint():
        raise RecordsError(f"{title} learned from other records than {sources.records}: name its own with --records")
    if (run.records, run.seed, run.settings) != (card.training.records, card.training.seed, card.training.settings):
        raise RecordsError(f"{title} was exported from another run than {sources.run}: name its own with --run")
    promised = Promised.read(sources.run)
    if (promised.card_band(), promised.temperature) != (card.band, card.calibration.temperature):
        raise RecordsError(
            f"{title} was exported before {sources.run} was calibrated or certified: run `lensgate train export` again"
        )
